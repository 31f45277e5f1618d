/* SPDX-License-Identifier: Apache-2.0
 * The sending ring of a memif port, for those who fill it packet by packet. */
#ifndef WEFT_RING_H
#define WEFT_RING_H

#include "worker.h"

static inline uint16_t load16(const uint16_t *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }

/* Free slots towards the peer; a peer that claims more than the ring has is faulty. */
static inline uint32_t room(struct worker *w, struct port *p) {
  struct ring *r = &p->tx;
  uint16_t free = p->role == WF_SERVER ? (uint16_t)(load16(&r->memory->head) - r->index)
                                       : (uint16_t)(r->size - (uint16_t)(r->index - load16(&r->memory->tail)));
  if (free > r->size) { complain(w, p, "ring index out of range"); return 0; }
  return free;
}

/* Where the next packet goes, and how much fits; NULL: the peer offers no usable memory. */
static inline uint8_t *slot_buffer(struct port *p, uint16_t index, uint32_t *capacity) {
  struct ring *r = &p->tx;
  if (p->role == WF_CLIENT) {
    *capacity = p->buffer_bytes;
    return p->region[0].base + r->buffers + (uint64_t)(index & r->mask) * p->buffer_bytes;
  }
  const volatile struct memif_descriptor *d = &r->memory->descriptors[index & r->mask];
  uint32_t region = d->region, length = d->length, offset = d->offset;
  if (region >= p->regions || (uint64_t)offset + length > p->region[region].bytes) return NULL;
  *capacity = length;
  return p->region[region].base + offset;
}

static inline void fill_descriptor(struct port *p, uint16_t index, uint32_t length, uint16_t flags) {
  struct memif_descriptor *d = &p->tx.memory->descriptors[index & p->tx.mask];
  if (p->role == WF_CLIENT) {
    *d = (struct memif_descriptor){.flags = flags, .length = length, .offset = (uint32_t)(p->tx.buffers + (uint64_t)(index & p->tx.mask) * p->buffer_bytes)};
  } else {
    d->flags = flags;
    d->length = length;
  }
}

#endif
