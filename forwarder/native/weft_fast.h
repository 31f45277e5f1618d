/* SPDX-License-Identifier: Apache-2.0
 *
 * weft_fast — the packet core of Weft: memif, TAP, AF_PACKET, VXLAN and DPDK ports, joined in pairs by cross-connects.
 *
 * Two parts. The *keeper* holds sockets and descriptors, speaks memif's handshakes and keeps the list of what is wanted.
 * The *worker* moves packets; it gets every descriptor from the keeper (SCM_RIGHTS), holds no truth, and may be killed or
 * replaced at any moment: the next one goes on where it stopped. Both are either two processes (program weft-fast) or two
 * threads of the caller (wf_open with WF_THREADS).
 *
 * Rules for callers
 *  - All functions may be called from any thread; none blocks longer than a connect to a local socket takes.
 *  - Results below 0 are negated errno values; wf_error gives the text: what was attempted, on which object.
 *  - Structures are plain memory of the caller, read during the call, all numbers in host order, addresses in network order.
 *  - Link with -Wl,-z,nodelete: threads may outlive a dlclose.
 *
 * Counters are read from the board (wf_board), memory that the worker writes and everybody may map: no call is needed.
 */
#ifndef WEFT_FAST_H
#define WEFT_FAST_H

#include <stdint.h>

#define WF_ABI 1
#define WF_MAX_PORTS 4096
#define WF_MAX_CONNECTS 2048
#define WF_MAX_DEVICES 8

typedef struct wf wf;

/* How the worker runs. */
enum { WF_PROCESS = 0, WF_THREADS = 1 };

/* What a port is. */
enum {
  WF_PORT_MEMIF = 1,  /* shared-memory rings with one peer */
  WF_PORT_PACKET = 2, /* an interface that exists, by AF_PACKET: `path` is its name in `netns` */
  WF_PORT_TAP = 3,    /* a TAP (mode IP: TUN) interface that is made in `netns` under the name `path` */
  WF_PORT_VXLAN = 4,  /* one VNI between two addresses, over UDP of `netns` */
  WF_PORT_ECHO = 5,   /* gives back what it gets, with addresses swapped: an endpoint for trials */
  WF_PORT_PROXY = 6,  /* two memif peers talk to each other directly: only their control messages pass here, no packet does */
  WF_PORT_DEVICE = 7  /* every frame of a device (wf_device_add): `path` is its name */
};

/* What a port's packets begin with. */
enum { WF_ETHERNET = 0, WF_IP = 1 };

/* Role of memif: the server listens, the client connects and brings the memory. */
enum { WF_SERVER = 0, WF_CLIENT = 1 };

/* Underlay of a VXLAN port. */
enum {
  WF_UNDERLAY_UDP = 0,    /* a socket of the kernel in `netns` */
  WF_UNDERLAY_DEVICE = 1  /* a device, `path` is its name; it has to have the port's local address */
};

/* Whether a device takes huge pages: if enough of them are free, always, or never. */
enum { WF_HUGE_AUTO = 0, WF_HUGE_ALWAYS = 1, WF_HUGE_NEVER = 2 };

struct wf_port {
  uint32_t kind;
  uint32_t mode;
  uint32_t role;
  uint32_t log2_ring;    /* memif client: slots of a ring; 0 = 10 */
  uint32_t buffer_bytes; /* memif client: bytes of a buffer; 0 = 2048 */
  uint32_t memif_id;     /* memif client: interface id told to the server */
  uint32_t vni;
  uint16_t udp_port;
  uint16_t family;       /* of local and remote: 4 or 6 */
  uint8_t local[16];
  uint8_t remote[16];
  uint8_t mac[6];        /* PACKET, TAP: hardware address of the interface's other side; zero = learned */
  uint8_t underlay;      /* VXLAN: WF_UNDERLAY_… */
  uint8_t spare[1];
  char name[64];         /* what the caller knows it by; unique, not empty */
  char netns[256];       /* path of a network namespace, needed during wf_port_add only; empty = the keeper's own */
  char path[128];        /* socket ("@…" is abstract) or interface */
  char peer_netns[256];  /* PROXY: where the server listens */
  char peer_path[128];
};

struct wf_connect {
  char name[64];         /* unique, not empty */
  uint32_t port_a;
  uint32_t port_b;
  uint32_t mtu_bytes;    /* of the payload: without an Ethernet header; 0 = no limit */
  uint32_t dscp;         /* 0 … 63 is written into each IP header; 255 = left alone */
  uint64_t rate_bits[2]; /* per second, a→b and b→a; 0 = no limit */
  uint64_t burst_bytes[2]; /* depth of the bucket; 0 = 20 ms of the rate, at least 64 KiB */
};

/* An Ethernet device that a DPDK driver of the worker moves frames for, with an address of its own: the worker answers for it
 * (ARP, neighbour discovery, echo) and finds out who is behind the others. Made for the few links between nodes. */
struct wf_device {
  char name[64];         /* unique, not empty */
  char spec[256];        /* PCI address ("0000:3b:00.0") or virtual device with its options ("net_af_packet0,iface=eth1") */
  char eal[256];         /* more options of DPDK's EAL, parted by blanks; only those of the first device count */
  uint32_t memory_mb;    /* 0 = 256; only that of the first device counts */
  uint32_t huge;         /* WF_HUGE_…; as memory_mb */
  uint32_t mtu_bytes;    /* 0 = what the device has */
  uint16_t family;       /* of address and gateway: 4, 6; 0 = no address, for ports of kind DEVICE only */
  uint16_t prefix_bits;
  uint8_t address[16];
  uint8_t gateway[16];   /* for what is not in the prefix; zero = none */
  char netns[256];       /* path of the network namespace of the interface of a virtual device; empty = the keeper's own */
};

/* What is there, as wf_list tells it. */
struct wf_entry {
  uint32_t kind;         /* 0: a cross-connect, else the port's kind */
  uint32_t slot;
  uint32_t port_a, port_b; /* of a cross-connect */
  char name[64];
};

/* ---- the board ---------------------------------------------------------------------------------------------------- */

#define WF_BOARD_MAGIC 0x31424657u /* "WFB1" */

struct wf_board_head {
  uint32_t magic, abi;
  uint32_t max_ports, max_connects;
  uint32_t ports_at, directions_at; /* offsets in bytes */
  uint32_t worker_pid;
  uint32_t worker_starts;
  uint64_t sent;                    /* number of the last order to the worker … */
  uint64_t applied;                 /* … and of the last one that it has carried out */
  uint64_t passes;                  /* of the worker's loop */
  uint64_t sleeps;
  uint64_t busy_ns;                 /* reserved */
  uint32_t devices_at, max_devices; /* 0 in cores that know no devices */
};

enum { WF_DEVICE_NONE = 0, WF_DEVICE_OPENING = 1, WF_DEVICE_READY = 2, WF_DEVICE_FAILED = 3 };

struct wf_board_device { /* 256 bytes, slot after slot */
  uint32_t state;
  int32_t error;       /* negated errno of FAILED */
  uint32_t link;       /* 1: there is a carrier */
  uint32_t mtu_bytes;
  uint8_t mac[6];
  uint16_t deaths;     /* workers that have died while they opened it */
  uint32_t neighbours; /* next hops whose hardware address is known */
  uint64_t rx, tx;     /* frames */
  uint64_t rx_other;   /* frames that are not for us */
  uint64_t tx_full;    /* frames that the driver did not take */
  uint64_t tx_unknown; /* packets to a next hop that does not answer */
  char driver[32];
  char why[128];       /* text of FAILED */
  uint8_t spare[24];
};

enum { WF_LINK_NONE = 0, WF_LINK_DOWN = 1, WF_LINK_UP = 2 };

struct wf_board_port { /* 64 bytes, slot after slot */
  uint32_t link;
  uint32_t epoch;      /* grows with each connection of a peer */
  uint32_t rx_index;   /* where the worker is in the rings, modulo 2^16 */
  uint32_t tx_index;
  uint64_t breaks;     /* how often the link has gone down */
  uint64_t faults;     /* how often the peer broke the protocol */
  uint64_t spare[4];
};

struct wf_board_direction { /* 128 bytes; 2 × slot is a→b, 2 × slot + 1 is b→a */
  uint64_t packets, bytes;
  uint64_t drop_full, drop_mtu, drop_policer, drop_bad, drop_down;
  uint64_t answered;   /* ICMP too-big and neighbour answers that were sent back */
  /* What the worker is about to make true: carried out again by the next worker, so that a burst is neither lost nor doubled. */
  uint64_t intent;     /* number, written last; 0 = none */
  uint64_t intent_packets, intent_bytes, intent_full;
  uint32_t intent_src_epoch, intent_dst_epoch;
  uint32_t intent_src, intent_dst; /* ring indices */
  uint64_t spare[2];
};

/* ---- calls -------------------------------------------------------------------------------------------------------- */

/* WF_ABI of the library: compare it before anything else. */
uint32_t wf_abi(void);
/* Bit 1: built with AddressSanitizer. Bit 2: knows devices. */
uint32_t wf_features(void);

/* Starts a keeper in the calling process, with its worker. program: path of weft-fast, for WF_PROCESS. */
int wf_open(uint32_t how, const char *program, wf **out);
/* Ends the worker and closes everything; peers see a disconnect. */
void wf_close(wf *w);

/* The slot of the port (≥ 0). The same name and the same values: the slot it has already. Other values: -EEXIST.
 * Namespaces are the same when they are, whatever their paths. */
int wf_port_add(wf *w, const struct wf_port *port);
int wf_port_del(wf *w, uint32_t slot);
/* The slot of the cross-connect (≥ 0). The same name: changed in place, counters go on. A port joins one only: -EBUSY. */
int wf_connect_set(wf *w, const struct wf_connect *connect);
int wf_connect_del(wf *w, uint32_t slot);
/* The slot of the device (≥ 0), which is opened by and by: the board tells how it went. Only in processes (WF_PROCESS): DPDK can
 * be started once in the life of one. The same name: as wf_port_add. A device in use is not removed: -EBUSY. */
int wf_device_add(wf *w, const struct wf_device *device);
int wf_device_del(wf *w, uint32_t slot);
/* Fills up to `room` entries; the result is how many there are. */
int wf_list(wf *w, struct wf_entry *entries, uint32_t room);

/* Memory of the board; it stays until wf_close. */
void *wf_board(wf *w, uint64_t *size_bytes);
/* Descriptor of that memory, to be handed to another process. */
int wf_board_fd(wf *w);
/* An eventfd that becomes readable when a link goes up or down. */
int wf_events_fd(wf *w);
void wf_events_clear(wf *w);
/* Replaces the worker without losing a link (upgrade). */
int wf_worker_restart(wf *w);
/* Text of the last failure of the calling thread. */
const char *wf_error(void);

#endif
