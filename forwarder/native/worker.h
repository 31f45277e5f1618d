/* SPDX-License-Identifier: Apache-2.0
 * The worker: moves packets between ports. It owns its tables alone, so orders are carried out between two bursts without locks. */
#ifndef WEFT_WORKER_H
#define WEFT_WORKER_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "memif.h"
#include "order.h"
#include "weft_fast.h"

#define BURST 64
#define BUFFER_BYTES 66560 /* the largest IP packet, with headers before it */
#define KIND_UNDERLAY 100
#define KIND_DEVICE 101
#define DEVICES_AT 1024 /* offset on the board */

struct ring {
  struct memif_ring *memory;
  uint16_t index;     /* next slot that is ours; the only truth about it, the peer's copy is never read back */
  uint16_t published; /* sending: what the peer has been told */
  uint16_t mask;
  uint32_t size;
  uint64_t buffers;   /* client: offset of its first buffer in region 0 */
  int fd;
};

struct direction;
struct device;
struct neighbour;

struct port {
  uint32_t slot, kind, mode, role, epoch;
  bool up, hot, faulty;
  int fd;
  uint32_t idle;
  struct ring rx, tx;
  uint32_t regions, buffer_bytes;
  struct { uint8_t *base; uint64_t bytes; } region[MEMIF_MAX_REGIONS];
  uint8_t mac[6], own_mac[6];
  struct direction *from; /* what happens to packets that come in here */
  struct port *underlay;
  uint32_t vni;
  struct sockaddr_in6 remote; /* large enough for sockaddr_in */
  uint32_t family, users;
  struct wf_board_port *board;
  struct device *device;        /* DEVICE, and underlays on a device */
  struct neighbour *next_hop;   /* VXLAN on a device */
  uint8_t local[16];            /* of an underlay */
};

struct direction {
  struct port *src, *dst;
  struct wf_board_direction *board;
  uint32_t mtu, dscp;
  uint64_t packets, bytes, full; /* totals; on the board after each commit */
  uint64_t rate, depth, tokens, last_ns;
  uint64_t answers_ns; /* when the next answer may be sent */
  bool touched;
};

struct worker {
  int orders;     /* socket to the keeper */
  int epoll;
  uint8_t *board;
  struct wf_board_head *head;
  struct port *ports;           /* WF_MAX_PORTS */
  struct direction *directions; /* 2 × WF_MAX_CONNECTS */
  struct port underlays[MAX_UNDERLAYS];
  struct port **hot;
  uint32_t hot_count;
  struct { uint64_t key; struct port *port; } *vnis; /* open addressing, VNI_SLOTS */
  uint64_t now_ns;
  /* datagrams on their way out, to one port or underlay at a time */
  struct port *out;
  uint32_t out_count;
  struct mmsghdr out_messages[BURST];
  struct iovec out_parts[BURST][2];
  uint8_t out_headers[BURST][64];
  uint32_t out_lengths[BURST];
  struct direction *out_for;
  uint8_t *scratch; /* BURST buffers that packets are rebuilt in */
  uint32_t scratch_next;
  uint8_t *in; /* BURST buffers for datagrams that come in */
  struct mmsghdr in_messages[BURST];
  struct iovec in_parts[BURST];
  struct sockaddr_in6 in_from[BURST];
  struct device *devices; /* WF_MAX_DEVICES */
  uint32_t devices_open, nap_us;
  bool congested; /* a receiver had no room in this pass */
  bool end;
};

/* Runs until told to end or until the keeper is gone. board: the shared memory; orders: the socket to the keeper. */
int worker_run(int orders, uint8_t *board);

/* from-descriptor.c */
uint32_t poll_port(struct worker *w, struct port *p);
/* join.c */
void connect_directions(struct worker *w, uint32_t slot, const struct wf_connect *c);
void disconnect_directions(struct worker *w, uint32_t slot);
/* worker.c */
void complain(struct worker *w, struct port *p, const char *why);
void heat(struct worker *w, struct port *p);
void leave_hot(struct worker *w, struct port *p);
void watch_descriptor(struct worker *w, int fd, struct port *p);
/* worker-orders.c */
void take_orders(struct worker *w);
void port_down(struct worker *w, struct port *p);
/* memif-port.c */
bool memif_up(struct worker *w, struct port *p, const struct order_port *o, const int *fds);
void memif_down(struct port *p);
void memif_publish(struct port *p);
void memif_release(struct port *p, uint16_t from);
void install_bus_guard(void);
/* tunnel.c */
struct port *find_vni(struct worker *w, const struct port *underlay, uint32_t vni);
void tunnel_up(struct worker *w, struct port *p, const struct order_port *o);
void add_vni(struct worker *w, struct port *p);
void drop_vni(struct worker *w, struct port *p);
bool underlay_up(struct worker *w, struct port *u, const struct order_underlay *o, int fd);
void underlay_down(struct worker *w, struct port *u);

/* The direction that a datagram to a tunnel belongs to, `data` moved on to the frame within. NULL: nobody wants it. */
struct direction *from_tunnel(struct worker *w, struct port *underlay, const void *sender, const uint8_t **data, uint32_t *length);

static inline uint64_t board_size(void) {
  return 4096 + 64ull * WF_MAX_PORTS + 128ull * 2 * WF_MAX_CONNECTS;
}

#endif
