/* SPDX-License-Identifier: Apache-2.0
 * Bursts from descriptors of the kernel: TAP, AF_PACKET, UDP sockets of tunnels. */
#define _GNU_SOURCE
#include <string.h>
#include <unistd.h>

#include "devices.h"
#include "moving.h"
#include "packet.h"

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
      x = from_tunnel(w, s, s->family == 6 ? (void *)&w->in_from[i].sin6_addr : (void *)&((struct sockaddr_in *)&w->in_from[i])->sin_addr, &data, &length);
      if (x == NULL) continue;
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
  if (!p->up || (p->from == NULL && p->kind < KIND_UNDERLAY)) return 0;
  switch (p->kind) {
    case WF_PORT_MEMIF: return from_memif(w, p);
    case WF_PORT_TAP: return from_tap(w, p);
    case KIND_DEVICE: return from_device(w, p);
    case WF_PORT_PACKET:
    case KIND_UNDERLAY: return from_socket(w, p);
    default: return 0;
  }
}
