/* SPDX-License-Identifier: Apache-2.0
 * Drivers of Ethernet devices. They are libraries beside the program that the worker loads when the first device is asked for,
 * so that the core itself depends on nothing: libweft_dpdk.so is dpdk.c linked with DPDK. */
#ifndef WEFT_DEVICE_H
#define WEFT_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DEVICE_ABI 1
#define DEVICE_BURST 64
#define DEVICE_DRIVER_LIBRARY "libweft_dpdk.so"

struct device_options { const char *spec, *eal; uint32_t memory_mb, huge, mtu_bytes; };
struct device_facts { uint8_t mac[6]; uint32_t mtu_bytes; char driver[32]; };

struct device_driver {
  uint32_t abi;
  /* On a thread of its own; may take seconds. 0, or -errno with a text in `why`. One call at a time. */
  int (*open)(const struct device_options *options, void **device, struct device_facts *facts, char *why, size_t room);
  void (*close)(void *device);
  /* Called once by the thread that moves packets, before the calls below, which are all its own. */
  void (*enter)(void);
  /* Frames that have come, at most DEVICE_BURST; they stay until the next call. Those in several pieces are dropped. */
  uint32_t (*receive)(void *device, const uint8_t **frames, uint32_t *lengths);
  /* Room for a frame, which goes with the next flush; at most DEVICE_BURST before that. NULL: no memory. */
  uint8_t *(*reserve)(void *device, uint32_t length);
  /* How many of the reserved frames were not taken: the last ones. */
  uint32_t (*flush)(void *device);
  bool (*has_carrier)(void *device);
};

/* What the library exports. */
const struct device_driver *weft_device_driver(void);

#endif
