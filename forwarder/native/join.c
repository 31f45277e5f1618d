/* SPDX-License-Identifier: Apache-2.0
 * The two directions of a cross-connect in the worker. */
#define _GNU_SOURCE
#include <string.h>

#include "moving.h"

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
