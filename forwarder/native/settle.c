/* SPDX-License-Identifier: Apache-2.0
 * Making a burst true, exactly once, also when the worker dies in the middle of it. */
#define _GNU_SOURCE
#include <stddef.h>

#include "moving.h"

static void settle(struct direction *x) {
  struct wf_board_direction *b = x->board;
  b->packets = x->packets;
  b->bytes = x->bytes;
  b->drop_full = x->full;
}

/* From the intent on, whoever carries it out ends in the same state: a dead worker's burst is finished by the next one. */
void commit(struct worker *w, struct direction *x, uint16_t received_from) {
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

void redo(struct direction *x) {
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
void send_back(struct worker *w, struct direction *x, const uint8_t *bytes, uint32_t length) {
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
