/* SPDX-License-Identifier: Apache-2.0
 * Bursts from a memif port: into another ring by one copy, into anything else packet by packet. */
#define _GNU_SOURCE
#include <string.h>

#include "moving.h"
#include "packet.h"
#include "ring.h"

static inline void copy_fast(uint8_t *to, const uint8_t *from, uint32_t length) {
  for (uint32_t at = 0; at < length; at += 64) __builtin_memcpy(to + at, from + at, 64);
}

/* A packet of several descriptors, put together. Result: descriptors used, 0 = not all there. */
static uint32_t gather(struct worker *w, struct port *p, uint32_t available, uint8_t **data, uint32_t *length) {
  uint8_t *copy = scratch(w);
  uint32_t total = 0, used = 0;
  for (bool more = true; more && used < available; used++) {
    const volatile struct memif_descriptor *d = &p->rx.memory->descriptors[(uint16_t)(p->rx.index + used) & p->rx.mask];
    uint32_t flags = d->flags, region = d->region, n = d->length, offset = d->offset;
    if (p->role == WF_CLIENT) {
      region = 0;
      offset = (uint32_t)(p->rx.buffers + (uint64_t)((uint16_t)(p->rx.index + used) & p->rx.mask) * p->buffer_bytes);
      if (n > p->buffer_bytes) n = UINT32_MAX;
    }
    if (region >= p->regions || (uint64_t)offset + n > p->region[region].bytes || total + (uint64_t)n > BUFFER_BYTES - 128) {
      *length = 0;
      return used + 1;
    }
    memcpy(copy + total, p->region[region].base + offset, n);
    total += n;
    more = flags & MEMIF_CHAINED;
    if (more && used + 1 == available) return 0;
  }
  *data = copy;
  *length = total;
  return used;
}

uint32_t from_memif(struct worker *w, struct port *s) {
  struct ring *r = &s->rx;
  uint16_t available = (uint16_t)(load16(s->role == WF_SERVER ? &r->memory->head : &r->memory->tail) - r->index);
  if (available == 0) return 0;
  if (available > r->size) { complain(w, s, "ring index out of range"); return 0; }
  struct direction *x = s->from;
  struct port *d = x->dst;
  const uint16_t first = r->index;
  uint32_t n = available < BURST ? available : BURST;
  if (!d->up) {
    r->index = (uint16_t)(first + n);
    x->board->drop_down += n;
    commit(w, x, first);
    return n;
  }
  const bool plain = d->kind == WF_PORT_MEMIF && d->mode == s->mode && x->rate == 0 && x->dscp == 255;
  const uint32_t limit = x->mtu == 0 ? UINT32_MAX : x->mtu + (s->mode == WF_ETHERNET ? ETHERNET_BYTES : 0);
  const uint32_t least = s->mode == WF_ETHERNET ? ETHERNET_BYTES : 20;
  uint32_t free = plain ? room(w, d) : 0;
  uint32_t used = 0;
  const volatile struct memif_descriptor *descriptors = r->memory->descriptors;
  const bool client = s->role == WF_CLIENT;
  uint64_t packets = 0, bytes = 0;
  for (; used < n; ) {
    uint16_t slot = (uint16_t)(r->index & r->mask);
    uint32_t flags = descriptors[slot].flags, region = descriptors[slot].region, length = descriptors[slot].length;
    uint64_t offset = descriptors[slot].offset;
    if (client) {
      region = 0;
      offset = r->buffers + (uint64_t)slot * s->buffer_bytes;
      if (length > s->buffer_bytes) region = UINT32_MAX;
    }
    if (!(flags & MEMIF_CHAINED) && (region >= s->regions || offset + length > s->region[region].bytes)) {
      x->board->drop_bad++;
      r->index++;
      used++;
      continue;
    }
    if (plain && !(flags & MEMIF_CHAINED) && length <= limit && length >= least) {
      if (free == 0) {
        /* The receiver is slower: what it cannot take is lost, as on any wire. */
        x->full += n - used;
        w->congested = true;
        r->index = (uint16_t)(r->index + (n - used));
        used = n;
        break;
      }
      uint32_t capacity;
      uint8_t *to = slot_buffer(d, d->tx.index, &capacity);
      const uint8_t *from = s->region[region].base + offset;
      uint32_t whole = (length + 63) & ~63u;
      if (to != NULL && whole <= capacity && offset + whole <= s->region[region].bytes) {
        __builtin_prefetch((const void *)&descriptors[(uint16_t)(slot + 8) & r->mask]);
        if (length <= 768) copy_fast(to, from, length);
        else memcpy(to, from, length);
        fill_descriptor(d, d->tx.index++, length, 0);
        free--;
        packets++;
        bytes += length;
        r->index++;
        used++;
        continue;
      }
    }
    uint8_t *data;
    uint32_t took = 1, size = length;
    if (flags & MEMIF_CHAINED) took = gather(w, s, (uint32_t)available - used, &data, &size);
    else data = s->region[region].base + offset;
    if (took == 0) break; /* the rest of the chain is still to come */
    if (size == 0 || size > BUFFER_BYTES - 128) x->board->drop_bad++;
    else forward_one(w, x, data, size);
    r->index = (uint16_t)(r->index + took);
    used += took;
    if (plain) free = room(w, d);
  }
  x->packets += packets;
  x->bytes += bytes;
  if (used == 0) {
    /* A chain that never ends would be looked at for ever. */
    if (available == r->size) complain(w, s, "chain longer than the ring");
    return 0;
  }
  commit(w, x, first);
  if (s->faulty) complain(w, s, "its memory has gone");
  if (d->faulty) complain(w, d, "its memory has gone");
  return used;
}
