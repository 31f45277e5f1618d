/* SPDX-License-Identifier: Apache-2.0
 * One direction of a cross-connect: bursts from a port into the other one, copied once. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "packet.h"
#include "worker.h"

#define ANSWER_EVERY_NS 1000000 /* at most a thousand answers a second and direction */

static const uint8_t broadcast[6] = {255, 255, 255, 255, 255, 255};

static inline uint16_t load16(const uint16_t *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }

/* ---- sending ------------------------------------------------------------------------------------------------------ */

static void flush_out(struct worker *w) {
  if (w->out_count == 0) return;
  uint32_t done = 0, stuck = 0;
  while (done < w->out_count) {
    int n = sendmmsg(w->out->fd, w->out_messages + done, w->out_count - done, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n > 0) { done += (uint32_t)n; continue; }
    if (errno == EINTR) continue;
    /* The first of the rest was refused; those behind it may still go, unless the way is full. */
    struct direction *x = w->out_for;
    uint32_t lost = errno == EAGAIN || errno == ENOBUFS || ++stuck > 8 ? w->out_count - done : 1;
    for (uint32_t i = 0; i < lost && x != NULL; i++) {
      x->packets--;
      x->bytes -= w->out_lengths[done + i];
      x->full++;
    }
    done += lost;
  }
  w->out_count = 0;
}

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

static bool put_memif(struct worker *w, struct port *p, const uint8_t *header, uint32_t header_length, const uint8_t *data, uint32_t length) {
  uint32_t free = room(w, p), total = header_length + length, done = 0;
  uint16_t first = p->tx.index;
  do {
    uint32_t capacity;
    uint8_t *to;
    if (free-- == 0 || (to = slot_buffer(p, p->tx.index, &capacity)) == NULL || capacity == 0) { p->tx.index = first; return false; }
    uint32_t n = total - done < capacity ? total - done : capacity, at = 0;
    if (done < header_length) {
      at = header_length - done < n ? header_length - done : n;
      memcpy(to, header + done, at);
    }
    if (at < n) memcpy(to + at, data + (done + at - header_length), n - at);
    done += n;
    fill_descriptor(p, p->tx.index++, n, done < total ? MEMIF_CHAINED : 0);
  } while (done < total);
  return true;
}

/* Hands over a packet made of two parts. `data` must stay as it is until flush_out. */
static bool put(struct worker *w, struct direction *x, struct port *p, const uint8_t *header, uint32_t header_length, const uint8_t *data, uint32_t length) {
  if (p->kind == WF_PORT_MEMIF) return put_memif(w, p, header, header_length, data, length);
  if (p->kind == WF_PORT_TAP) {
    struct iovec parts[2] = {{(void *)header, header_length}, {(void *)data, length}};
    return writev(p->fd, parts, 2) >= 0;
  }
  struct port *through = p->kind == WF_PORT_VXLAN ? p->underlay : p;
  if (w->out_count == BURST || w->out != through || w->out_for != x) flush_out(w);
  w->out = through;
  w->out_for = x;
  uint32_t i = w->out_count++, at = 0;
  uint8_t *before = w->out_headers[i];
  struct msghdr *m = &w->out_messages[i].msg_hdr;
  if (p->kind == WF_PORT_VXLAN) { /* RFC 7348 section 5 */
    before[0] = 0x08;
    before[1] = before[2] = before[3] = before[7] = 0;
    before[4] = (uint8_t)(p->vni >> 16);
    before[5] = (uint8_t)(p->vni >> 8);
    before[6] = (uint8_t)p->vni;
    at = 8;
    m->msg_name = &p->remote;
    m->msg_namelen = p->family == 6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
  } else {
    m->msg_name = NULL;
    m->msg_namelen = 0;
  }
  memcpy(before + at, header, header_length);
  w->out_parts[i][0] = (struct iovec){before, at + header_length};
  w->out_parts[i][1] = (struct iovec){(void *)data, length};
  m->msg_iov = w->out_parts[i];
  m->msg_iovlen = 2;
  w->out_lengths[i] = length;
  return true;
}

/* ---- making a burst true ------------------------------------------------------------------------------------------- */

static void settle(struct direction *x) {
  struct wf_board_direction *b = x->board;
  b->packets = x->packets;
  b->bytes = x->bytes;
  b->drop_full = x->full;
}

/* From the intent on, whoever carries it out ends in the same state: a dead worker's burst is finished by the next one. */
static void commit(struct worker *w, struct direction *x, uint16_t received_from) {
  struct port *s = x->src, *d = x->dst;
  bool rings = s->kind == WF_PORT_MEMIF;
  flush_out(w);
  if (rings) {
    struct wf_board_direction *b = x->board;
    b->intent_packets = x->packets;
    b->intent_bytes = x->bytes;
    b->intent_full = x->full;
    b->intent_src_epoch = s->epoch;
    b->intent_dst_epoch = d->kind == WF_PORT_MEMIF ? d->epoch : 0;
    b->intent_src = s->rx.index;
    b->intent_dst = d->kind == WF_PORT_MEMIF ? d->tx.index : 0;
    __atomic_store_n(&b->intent, b->intent + 1, __ATOMIC_RELEASE);
  }
  if (d->kind == WF_PORT_MEMIF && d->up) memif_publish(d);
  settle(x);
  if (rings) memif_release(s, received_from);
}

static void redo(struct direction *x) {
  struct wf_board_direction *b = x->board;
  struct port *s = x->src, *d = x->dst;
  if (b->intent == 0 || s->kind != WF_PORT_MEMIF || !s->up || s->epoch != b->intent_src_epoch) return;
  if (d->kind == WF_PORT_MEMIF) {
    if (!d->up || d->epoch != b->intent_dst_epoch) return;
    d->tx.index = (uint16_t)b->intent_dst;
    memif_publish(d);
  }
  x->packets = b->intent_packets;
  x->bytes = b->intent_bytes;
  x->full = b->intent_full;
  settle(x);
  uint16_t from = s->rx.index;
  s->rx.index = (uint16_t)b->intent_src;
  if (from != s->rx.index) memif_release(s, from);
}

/* Sends a packet of our own back to where the one that it answers came from. */
static void send_back(struct worker *w, struct direction *x, const uint8_t *bytes, uint32_t length) {
  struct port *s = x->src;
  struct direction *back = x->dst->from;
  flush_out(w);
  /* The intent of the other direction names an older index of this ring. */
  if (back != NULL && s->kind == WF_PORT_MEMIF) __atomic_store_n(&back->board->intent, 0, __ATOMIC_RELEASE);
  if (!put(w, NULL, s, NULL, 0, bytes, length)) return;
  flush_out(w);
  if (s->kind == WF_PORT_MEMIF) memif_publish(s);
  x->board->answered++;
}

/* ---- one packet, any ports ----------------------------------------------------------------------------------------- */

static void too_big(struct worker *w, struct direction *x, const uint8_t *packet, uint32_t length, const uint8_t *frame) {
  x->board->drop_mtu++;
  if (w->now_ns < x->answers_ns) return;
  uint8_t answer[ETHERNET_BYTES + ANSWER_BYTES];
  uint32_t n = answer_too_big(packet, length, x->mtu, answer + ETHERNET_BYTES);
  if (n == 0) return;
  x->answers_ns = w->now_ns + ANSWER_EVERY_NS;
  if (frame == NULL) { send_back(w, x, answer + ETHERNET_BYTES, n); return; }
  if (frame[0] & 1) memcpy(answer + 6, x->src->own_mac, 6);
  else memcpy(answer + 6, frame, 6);
  memcpy(answer, frame + 6, 6);
  answer[12] = answer[14] >> 4 == 4 ? 0x08 : 0x86;
  answer[13] = answer[14] >> 4 == 4 ? 0x00 : 0xdd;
  send_back(w, x, answer, ETHERNET_BYTES + n);
}

static bool within_rate(struct worker *w, struct direction *x, uint32_t length) {
  if (x->rate == 0) return true;
  uint64_t past = w->now_ns - x->last_ns;
  if (past > 1000000000ull) past = 1000000000ull;
  x->last_ns = w->now_ns;
  /* Tokens are bits × 10⁹, so that no time is lost to rounding. */
  __uint128_t tokens = (__uint128_t)x->tokens + (__uint128_t)x->rate * past / 1000;
  x->tokens = tokens > x->depth ? x->depth : (uint64_t)tokens;
  uint64_t cost = (uint64_t)length * 8 * 1000000;
  if (x->tokens < cost) return false;
  x->tokens -= cost;
  return true;
}

static uint8_t *scratch(struct worker *w) {
  return w->scratch + (size_t)(w->scratch_next++ % (BURST * 2)) * BUFFER_BYTES;
}

/* Everything that can happen to a packet. `data` stays valid until the next flush. */
static void forward_one(struct worker *w, struct direction *x, const uint8_t *data, uint32_t length) {
  struct port *s = x->src, *d = x->dst;
  const uint8_t *frame = s->mode == WF_ETHERNET ? data : NULL;
  uint8_t header[ETHERNET_BYTES];
  uint32_t header_length = 0, at = 0;
  if (frame != NULL ? length < ETHERNET_BYTES : length < 20) { x->board->drop_bad++; return; }
  if (d->kind == WF_PORT_ECHO) {
    uint8_t *copy = scratch(w), answer[128];
    uint32_t n = frame != NULL ? answer_neighbour(frame, length, s->own_mac, answer) : 0;
    memcpy(copy, data, length);
    x->packets++;
    x->bytes += length;
    if (n > 0) send_back(w, x, answer, n);
    else if (echo_reply(copy, length, frame != NULL)) send_back(w, x, copy, length);
    return;
  }
  if (frame != NULL && d->mode == WF_IP) {
    uint8_t answer[128];
    if (!(frame[6] & 1)) memcpy(s->mac, frame + 6, 6);
    at = ip_offset(frame, length);
    uint32_t n = answer_neighbour(frame, length, s->own_mac, answer);
    if (n > 0) { send_back(w, x, answer, n); return; }
    if (at == 0) { x->board->drop_bad++; return; }
  } else if (frame == NULL && d->mode == WF_ETHERNET) {
    static const uint8_t unknown[6];
    int version = data[0] >> 4;
    memcpy(header, memcmp(d->mac, unknown, 6) == 0 ? broadcast : d->mac, 6);
    memcpy(header + 6, d->own_mac, 6);
    header[12] = version == 4 ? 0x08 : 0x86;
    header[13] = version == 4 ? 0x00 : 0xdd;
    header_length = ETHERNET_BYTES;
    if (version != 4 && version != 6) { x->board->drop_bad++; return; }
  }
  uint32_t ip_at = frame != NULL ? ip_offset(frame, length) : 0;
  uint32_t payload = length - (frame == NULL ? 0 : ip_at > 0 ? ip_at : ETHERNET_BYTES);
  if (x->mtu != 0 && payload > x->mtu) { too_big(w, x, data + length - payload, payload, frame); return; }
  if (!within_rate(w, x, length)) { x->board->drop_policer++; return; }
  if (x->dscp != 255 && (frame == NULL || ip_at > 0)) {
    uint8_t *copy = scratch(w);
    memcpy(copy, data, length);
    set_dscp(copy + ip_at, length - ip_at, x->dscp);
    data = copy;
  }
  x->packets++;
  x->bytes += length - at + header_length;
  if (put(w, x, d, header, header_length, data + at, length - at)) return;
  x->packets--;
  x->bytes -= length - at + header_length;
  x->full++;
}

/* ---- from a memif port --------------------------------------------------------------------------------------------- */

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

static uint32_t from_memif(struct worker *w, struct port *s) {
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

/* ---- from a descriptor ---------------------------------------------------------------------------------------------- */

static uint32_t from_tap(struct worker *w, struct port *s) {
  uint32_t n = 0;
  while (n < BURST) {
    ssize_t length = read(s->fd, w->in, BUFFER_BYTES);
    if (length <= 0) break;
    n++;
    if (!s->from->dst->up) { s->from->board->drop_down++; continue; }
    forward_one(w, s->from, w->in, (uint32_t)length);
    flush_out(w); /* the buffer is used again */
  }
  if (n > 0) commit(w, s->from, 0);
  return n;
}

static uint32_t from_socket(struct worker *w, struct port *s) {
  int n = recvmmsg(s->fd, w->in_messages, BURST, MSG_DONTWAIT, NULL);
  if (n <= 0) return 0;
  struct direction *touched[BURST];
  uint32_t count = 0;
  for (int i = 0; i < n; i++) {
    const uint8_t *data = w->in + (size_t)i * BUFFER_BYTES;
    uint32_t length = w->in_messages[i].msg_len;
    w->in_messages[i].msg_hdr.msg_namelen = sizeof w->in_from[i];
    struct direction *x = s->from;
    if (s->kind == KIND_UNDERLAY) {
      if (length < 8 + ETHERNET_BYTES || !(data[0] & 0x08)) continue;
      struct port *p = find_vni(w, s, (uint32_t)data[4] << 16 | (uint32_t)data[5] << 8 | data[6]);
      if (p == NULL || p->from == NULL) continue;
      /* Only the other end of the tunnel may speak for it. */
      bool known = p->family == 6 ? memcmp(&w->in_from[i].sin6_addr, &p->remote.sin6_addr, 16) == 0
                                  : ((struct sockaddr_in *)&w->in_from[i])->sin_addr.s_addr == ((struct sockaddr_in *)&p->remote)->sin_addr.s_addr;
      x = p->from;
      data += 8;
      length -= 8;
      if (!known) { x->board->drop_bad++; continue; }
    }
    if (!x->dst->up) { x->board->drop_down++; continue; }
    forward_one(w, x, data, length);
    if (!x->touched) { x->touched = true; touched[count++] = x; }
  }
  for (uint32_t i = 0; i < count; i++) {
    touched[i]->touched = false;
    commit(w, touched[i], 0);
  }
  return (uint32_t)n;
}

uint32_t poll_port(struct worker *w, struct port *p) {
  if (!p->up || (p->from == NULL && p->kind != KIND_UNDERLAY)) return 0;
  switch (p->kind) {
    case WF_PORT_MEMIF: return from_memif(w, p);
    case WF_PORT_TAP: return from_tap(w, p);
    case WF_PORT_PACKET:
    case KIND_UNDERLAY: return from_socket(w, p);
    default: return 0;
  }
}

/* ---- joining --------------------------------------------------------------------------------------------------------- */

static void set_direction(struct worker *w, uint32_t index, struct port *src, struct port *dst, const struct wf_connect *c, int way) {
  struct direction *x = &w->directions[index];
  bool first = x->board == NULL, moved = x->src != src || x->dst != dst;
  if (x->src != NULL && x->src->from == x) x->src->from = NULL;
  x->board = (struct wf_board_direction *)(w->board + w->head->directions_at) + index;
  x->src = src;
  x->dst = dst;
  x->mtu = c->mtu_bytes;
  x->dscp = c->dscp;
  if (first) {
    x->packets = x->board->packets;
    x->bytes = x->board->bytes;
    x->full = x->board->drop_full;
  }
  if (first || c->rate_bits[way] != x->rate) {
    x->rate = c->rate_bits[way];
    uint64_t least = x->rate / 400 > 65536 ? x->rate / 400 : 65536; /* 20 ms, in bytes */
    uint64_t depth = c->burst_bytes[way] != 0 ? c->burst_bytes[way] : least;
    if (depth > 1ull << 40) depth = 1ull << 40;
    x->depth = x->tokens = depth * 8 > UINT64_MAX / 1000000 ? UINT64_MAX : depth * 8 * 1000000;
    x->last_ns = w->now_ns;
  }
  src->from = x;
  if (first) redo(x);
  else if (moved) __atomic_store_n(&x->board->intent, 0, __ATOMIC_RELEASE);
}

void connect_directions(struct worker *w, uint32_t slot, const struct wf_connect *c) {
  if (slot >= WF_MAX_CONNECTS || c->port_a >= WF_MAX_PORTS || c->port_b >= WF_MAX_PORTS) return;
  struct port *a = &w->ports[c->port_a], *b = &w->ports[c->port_b];
  set_direction(w, 2 * slot, a, b, c, 0);
  set_direction(w, 2 * slot + 1, b, a, c, 1);
  heat(w, a->underlay != NULL ? a->underlay : a);
  heat(w, b->underlay != NULL ? b->underlay : b);
}

void disconnect_directions(struct worker *w, uint32_t slot) {
  if (slot >= WF_MAX_CONNECTS) return;
  for (uint32_t i = 2 * slot; i < 2 * slot + 2; i++) {
    struct direction *x = &w->directions[i];
    if (x->src != NULL && x->src->from == x) x->src->from = NULL;
    memset((struct wf_board_direction *)(w->board + w->head->directions_at) + i, 0, sizeof *x->board);
    memset(x, 0, sizeof *x);
  }
}
