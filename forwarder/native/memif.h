/* SPDX-License-Identifier: Apache-2.0
 * memif version 2.0 as it goes over the socket and lies in memory. One ring each way; "c2s" is the client's sending ring. */
#ifndef WEFT_MEMIF_H
#define WEFT_MEMIF_H

#include <stdint.h>

#define MEMIF_VERSION_2_0 0x0200
#define MEMIF_COOKIE 0x3E31F20u
#define MEMIF_MAX_LOG2_RING 14
#define MEMIF_MAX_REGIONS 16
#define MEMIF_MESSAGE_BYTES 128

enum memif_type { MEMIF_NONE, MEMIF_ACK, MEMIF_HELLO, MEMIF_INIT, MEMIF_ADD_REGION, MEMIF_ADD_RING, MEMIF_CONNECT, MEMIF_CONNECTED, MEMIF_DISCONNECT };
enum { MEMIF_RING_IS_C2S = 1 };      /* flag of ADD_RING */
enum { MEMIF_MASK_INTERRUPT = 1 };   /* flag of a ring, set by its consumer */
enum { MEMIF_CHAINED = 1 };          /* flag of a descriptor: the packet goes on in the next one */

struct memif_message {
  uint16_t type;
  union {
    struct { uint8_t name[32]; uint16_t min_version, max_version, max_region, max_c2s_ring, max_s2c_ring; uint8_t max_log2_ring; } __attribute__((packed)) hello;
    struct { uint16_t version; uint32_t id; uint8_t mode; uint8_t secret[24]; uint8_t name[32]; } __attribute__((packed)) init;
    struct { uint16_t index; uint64_t size; } __attribute__((packed)) add_region;
    struct { uint16_t flags, index, region; uint32_t offset; uint8_t log2_ring; uint16_t private_bytes; } __attribute__((packed)) add_ring;
    struct { uint8_t name[32]; } connect;
    struct { uint32_t code; uint8_t text[96]; } __attribute__((packed)) disconnect;
    uint8_t bytes[MEMIF_MESSAGE_BYTES - 2];
  } __attribute__((packed));
} __attribute__((packed));
_Static_assert(sizeof(struct memif_message) == MEMIF_MESSAGE_BYTES, "a message has 128 bytes");

struct memif_descriptor {
  uint16_t flags, region;
  uint32_t length, offset, metadata;
};
_Static_assert(sizeof(struct memif_descriptor) == 16, "a descriptor has 16 bytes");

/* The producer of c2s writes head, its consumer tail. In s2c the client offers buffers by head, the server fills up to tail. */
struct memif_ring {
  uint32_t cookie;
  uint16_t flags;
  uint16_t head;
  uint8_t pad1[56];
  uint16_t tail;
  uint8_t pad2[62];
  struct memif_descriptor descriptors[];
};
_Static_assert(sizeof(struct memif_ring) == 128, "descriptors begin at 128");

static inline uint64_t memif_ring_bytes(unsigned log2) { return 128 + (16ull << log2); }

#endif
