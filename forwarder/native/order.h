/* SPDX-License-Identifier: Apache-2.0
 * What the keeper tells the worker, one SOCK_SEQPACKET message each, with descriptors beside it. */
#ifndef WEFT_ORDER_H
#define WEFT_ORDER_H

#include <stdint.h>

#include "memif.h"
#include "weft_fast.h"

#define MAX_UNDERLAYS 16
#define MAX_ORDER_FDS (MEMIF_MAX_REGIONS + 2)

enum order_type { ORDER_PORT_UP = 1, ORDER_PORT_DOWN, ORDER_CONNECT, ORDER_DISCONNECT, ORDER_UNDERLAY_UP, ORDER_UNDERLAY_DOWN, ORDER_END, ORDER_DEVICE_UP, ORDER_DEVICE_DOWN };

struct order_port {
  uint32_t kind, mode, role, epoch;
  uint32_t fresh;        /* the rings are new: indices are 0 and a client has to offer its buffers */
  uint32_t buffer_bytes; /* memif client */
  uint32_t regions;
  struct { uint16_t region; uint8_t log2; uint8_t pad; uint32_t offset; } ring[2];
  uint64_t region_bytes[MEMIF_MAX_REGIONS];
  /* VXLAN; DEVICE: slot of the device */
  uint32_t underlay, vni;
  uint8_t remote[16];
  uint8_t mac[6], own_mac[6];
};

struct order_underlay {
  uint32_t kind, family, udp_port;
  uint32_t device;       /* slot */
  uint8_t local[16];
};

struct order {
  uint32_t type, slot;
  uint64_t number;
  uint32_t descriptors, pad;
  union { struct order_port port; struct wf_connect connect; struct order_underlay underlay; struct wf_device device; };
};

/* From the worker: the peer of a port broke the protocol; or, as a slot from COMPLAINT_DEVICE on, a device has changed. */
#define COMPLAINT_DEVICE 0x10000u
struct complaint { uint32_t slot, epoch; char why[56]; };

#endif
