/* SPDX-License-Identifier: Apache-2.0
 * Devices in the worker: opened by a driver on a thread of their own, polled by the worker, with an address and neighbours. */
#ifndef WEFT_DEVICES_H
#define WEFT_DEVICES_H

#include <pthread.h>

#include "device.h"
#include "worker.h"

#define NEIGHBOURS 1024

/* Who is behind an address of the link. Only addresses that tunnels go to are here. */
struct neighbour {
  uint8_t address[16];
  uint8_t mac[6];
  bool known;
  uint8_t asked;       /* times without an answer */
  uint32_t users;
  uint64_t ask_at_ns;
};

struct device {
  struct wf_device spec;
  struct port port;    /* what the worker polls */
  struct port *raw;    /* the port of kind DEVICE that every frame goes to */
  const struct device_driver *driver;
  void *handle;
  struct device_facts facts;
  pthread_t opener;
  int netns;           /* where it is opened; -1: here */
  bool used;
  int opening;         /* 1: the thread runs; 2: it has ended, `error` and `why` say how. Atomic. */
  int error;
  char why[128];
  struct wf_board_device *board;
  struct neighbour neighbours[NEIGHBOURS];
  uint32_t neighbour_top;
  uint16_t ip_id;
  uint64_t tick_at_ns;
};

/* devices.c. netns: taken over; -1 = our own. */
void device_up(struct worker *w, uint32_t slot, const struct wf_device *spec, int netns);
void device_down(struct worker *w, uint32_t slot);
/* Takes up devices whose opening has ended, and does what is due. True: one is open, and has to be polled. */
bool tend_devices(struct worker *w);
/* Frames moved. */
uint32_t from_device(struct worker *w, struct port *p);
static inline bool is_ready(const struct device *d) { return d != NULL && d->used && d->handle != NULL; }

/* vtep.c: tunnels over a device. */
/* Room for a packet of `length` bytes within the tunnel; NULL: no memory, or nobody knows where to. */
uint8_t *reserve_tunnelled(struct port *p, uint32_t length);
/* Makes it whole once the packet of `length` bytes is in it. */
void finish_tunnelled(const struct port *p, uint8_t *inner, uint32_t length);
/* What to do with a frame for us that no raw port takes: the datagram of a tunnel (result: its underlay; `data`, `length` and
 * `sender` of the payload), or something that is answered here (NULL). */
struct port *hear_frame(struct worker *w, struct device *d, const uint8_t **data, uint32_t *length, const void **sender);

/* neighbours.c */
struct neighbour *want_neighbour(struct device *d, const uint8_t address[16]);
void leave_neighbour(struct neighbour *n);
/* The address that packets to `remote` are handed to: itself, or the gateway. False: there is no way. */
bool next_hop_of(const struct device *d, const uint8_t remote[16], uint8_t hop[16]);
void ask_neighbours(struct worker *w, struct device *d);
/* An ARP or neighbour discovery frame. True: it was one. */
bool hear_neighbour(struct worker *w, struct device *d, const uint8_t *frame, uint32_t length);
/* Sends a whole frame of our own. */
void send_frame(struct device *d, const uint8_t *frame, uint32_t length);

#endif
