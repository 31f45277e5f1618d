/* SPDX-License-Identifier: Apache-2.0
 * Bursts from a memif port: into another ring by one copy, into anything else packet by packet. */
#define _GNU_SOURCE
#include <string.h>

#include "moving.h"
#include "packet.h"
#include "ring.h"

#define MEMIF_BURST 256 /* from ring to ring, where nothing else has to hold the packets */

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

/* Memory of the peer that descriptors have named last. */
struct view { uint32_t region; uint8_t *base; uint64_t bytes; };

static inline bool look_at(struct view *v, const struct port *p, uint32_t region) {
  if (v->region == region) return true;
  if (region >= p->regions) return false;
  *v = (struct view){region, p->region[region].base, p->region[region].bytes};
  return true;
}

/* A descriptor in two readings: the peer may change it meanwhile. */
#define LOW(d) __atomic_load_n((const uint64_t *)(d), __ATOMIC_RELAXED)
#define HIGH(d) __atomic_load_n((const uint64_t *)(d) + 1, __ATOMIC_RELAXED)

struct moved { uint32_t used; uint64_t packets, bytes; };

/* Ring to ring, one descriptor each, nothing to be changed in them: as many as there are in a row. Everything that the loop needs
 * is held in local variables, because a copy of bytes might otherwise have changed it. */
static struct moved move_plain(struct port *s, struct port *d, uint32_t n, uint32_t least, uint32_t limit) {
  const struct memif_descriptor *from_ring = s->rx.memory->descriptors;
  struct memif_descriptor *to_ring = d->tx.memory->descriptors;
  const bool from_client = s->role == WF_CLIENT, to_client = d->role == WF_CLIENT;
  const uint32_t from_mask = s->rx.mask, to_mask = d->tx.mask, from_bytes = s->buffer_bytes, to_bytes = d->buffer_bytes;
  const uint64_t from_buffers = s->rx.buffers, to_buffers = d->tx.buffers;
  struct view in = {UINT32_MAX, NULL, 0}, out = {UINT32_MAX, NULL, 0};
  uint16_t i = s->rx.index, o = d->tx.index;
  struct moved m = {0, 0, 0};
  for (; m.used < n; m.used++, i++, o++) {
    const struct memif_descriptor *f = &from_ring[i & from_mask];
    struct memif_descriptor *t = &to_ring[o & to_mask];
    uint64_t low = LOW(f), to_low = 0, from_at, to_at;
    uint32_t length = (uint32_t)(low >> 32), whole = (length + 63) & ~63u, capacity = to_bytes;
    if ((low & MEMIF_CHAINED) || length > limit || length < least) break;
    if (from_client) {
      if (length > from_bytes || !look_at(&in, s, 0)) break;
      from_at = from_buffers + (uint64_t)(i & from_mask) * from_bytes;
    } else {
      if (!look_at(&in, s, (uint32_t)(low >> 16) & 0xffff)) break;
      from_at = (uint32_t)HIGH(f);
    }
    if (to_client) {
      if (!look_at(&out, d, 0)) break;
      to_at = to_buffers + (uint64_t)(o & to_mask) * to_bytes;
    } else {
      to_low = LOW(t);
      capacity = (uint32_t)(to_low >> 32);
      if (!look_at(&out, d, (uint32_t)(to_low >> 16) & 0xffff)) break;
      to_at = (uint32_t)HIGH(t);
      if (to_at + capacity > out.bytes) break;
    }
    if (whole > capacity || from_at + whole > in.bytes) break;
    /* The peers have these lines in their caches: asked for some packets ahead. */
    __builtin_prefetch(&from_ring[(i + 16) & from_mask]);
    __builtin_prefetch(&to_ring[(o + 16) & to_mask], 1);
    if (!from_client) __builtin_prefetch(in.base + (uint32_t)HIGH(&from_ring[(i + 4) & from_mask]));
    if (length <= 768) copy_fast(out.base + to_at, in.base + from_at, length);
    else memcpy(out.base + to_at, in.base + from_at, length);
    __atomic_store_n((uint64_t *)t, (uint64_t)length << 32 | (to_low & 0xffff0000), __ATOMIC_RELAXED);
    if (to_client) __atomic_store_n((uint64_t *)t + 1, to_at, __ATOMIC_RELAXED);
    m.bytes += length;
  }
  m.packets = m.used;
  s->rx.index = i;
  d->tx.index = o;
  return m;
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
  if (plain) n = available < MEMIF_BURST ? available : MEMIF_BURST;
  uint32_t used = 0;
  const volatile struct memif_descriptor *descriptors = r->memory->descriptors;
  const bool client = s->role == WF_CLIENT;
  uint64_t packets = 0, bytes = 0;
  for (; used < n; ) {
    if (plain && free > 0) {
      struct moved m = move_plain(s, d, n - used < free ? n - used : free, least, limit);
      used += m.used;
      free -= m.used;
      packets += m.packets;
      bytes += m.bytes;
      if (used == n) break;
    }
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
