/* SPDX-License-Identifier: Apache-2.0
 * Who is behind an address of a device's link: ARP (RFC 826) and neighbour discovery (RFC 4861), for the few next hops that tunnels
 * have. Answers are believed for addresses that were asked for, as on any link. */
#define _GNU_SOURCE
#include <string.h>

#include "devices.h"
#include "packet.h"

#define ASK_AGAIN_NS 200000000ull    /* while nobody has answered */
#define ASK_SLOWLY_NS 1000000000ull  /* after QUICK_ASKS */
#define QUICK_ASKS 10
#define STALE_NS 30000000000ull      /* an answer this old is asked for again */
#define MISSED 3                     /* such questions without an answer end what is known */

static const uint8_t nobody[16];

static uint32_t width(const struct device *d) { return d->spec.family == 6 ? 16 : 4; }

bool next_hop_of(const struct device *d, const uint8_t remote[16], uint8_t hop[16]) {
  uint32_t bits = d->spec.prefix_bits, whole = bits / 8;
  bool near = memcmp(remote, d->spec.address, whole) == 0;
  if (near && bits % 8 != 0) near = ((remote[whole] ^ d->spec.address[whole]) >> (8 - bits % 8)) == 0;
  memset(hop, 0, 16);
  memcpy(hop, near ? remote : d->spec.gateway, width(d));
  return memcmp(hop, nobody, 16) != 0;
}

static struct neighbour *find(struct device *d, const uint8_t *address) {
  for (uint32_t i = 0; i < d->neighbour_top; i++) if (d->neighbours[i].users > 0 && memcmp(d->neighbours[i].address, address, width(d)) == 0) return &d->neighbours[i];
  return NULL;
}

struct neighbour *want_neighbour(struct device *d, const uint8_t address[16]) {
  struct neighbour *n = find(d, address);
  for (uint32_t i = 0; n == NULL && i < NEIGHBOURS; i++) {
    if (d->neighbours[i].users > 0) continue;
    n = &d->neighbours[i];
    memset(n, 0, sizeof *n);
    memcpy(n->address, address, 16);
    if (i >= d->neighbour_top) d->neighbour_top = i + 1;
    d->tick_at_ns = 0;
  }
  if (n != NULL) n->users++;
  return n;
}

void leave_neighbour(struct neighbour *n) { if (n != NULL && n->users > 0) n->users--; }

void send_frame(struct device *d, const uint8_t *frame, uint32_t length) {
  uint32_t room = length < 60 ? 60 : length;
  uint8_t *to = is_ready(d) ? d->driver->reserve(d->handle, room) : NULL;
  if (to == NULL) return;
  memset(to, 0, room);
  memcpy(to, frame, length);
  uint32_t lost = d->driver->flush(d->handle);
  d->board->tx += 1 - lost;
  d->board->tx_full += lost;
}

static void ask(struct device *d, const struct neighbour *n) {
  uint8_t frame[100];
  send_frame(d, frame, question_neighbour(d->spec.family, d->facts.mac, d->spec.address, n->address, frame));
}

void ask_neighbours(struct worker *w, struct device *d) {
  uint32_t known = 0;
  for (uint32_t i = 0; i < d->neighbour_top; i++) {
    struct neighbour *n = &d->neighbours[i];
    if (n->users == 0) continue;
    if (w->now_ns >= n->ask_at_ns) {
      if (n->known && n->asked >= MISSED) n->known = false;
      ask(d, n);
      if (n->asked < 255) n->asked++;
      n->ask_at_ns = w->now_ns + (n->asked < QUICK_ASKS ? ASK_AGAIN_NS : ASK_SLOWLY_NS);
    }
    known += n->known;
  }
  d->board->neighbours = known;
}

bool hear_neighbour(struct worker *w, struct device *d, const uint8_t *frame, uint32_t length) {
  struct neighbour_message m;
  if (!read_neighbour(frame, length, &m)) return false;
  if (m.family != d->spec.family) return true;
  /* A source of zeros asks whether an address is free. */
  struct neighbour *n = m.mac_known && memcmp(m.sender, nobody, width(d)) != 0 ? find(d, m.sender) : NULL;
  if (n != NULL && !(m.mac[0] & 1)) {
    memcpy(n->mac, m.mac, 6);
    if (!n->known) d->board->neighbours++;
    n->known = true;
    n->asked = 0;
    n->ask_at_ns = w->now_ns + STALE_NS;
  }
  if (!m.asks || memcmp(m.target, d->spec.address, width(d)) != 0) return true;
  uint8_t answer[128];
  uint32_t bytes = answer_neighbour(frame, length, d->facts.mac, answer);
  if (bytes > 0) send_frame(d, answer, bytes);
  return true;
}
