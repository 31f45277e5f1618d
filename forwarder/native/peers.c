/* SPDX-License-Identifier: Apache-2.0
 * Control channels of memif peers in the keeper: who is connected, who is about to be, who has gone. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "held.h"

void set_up(wf *w, uint32_t slot, bool up) {
  struct held_port *p = &w->ports[slot];
  if (p->up && !up) board_port(w, slot)->breaks++;
  p->up = up;
  __atomic_store_n(&board_port(w, slot)->link, up ? WF_LINK_UP : WF_LINK_DOWN, __ATOMIC_RELEASE);
  if (up) { p->epoch++; order_port(w, slot); }
  else order_plain(w, ORDER_PORT_DOWN, slot);
  signal_event(w);
}

void drop_link(wf *w, uint32_t slot, const char *why) {
  struct held_port *p = &w->ports[slot];
  bool was_up = p->up;
  if (was_up) set_up(w, slot, false);
  link_close(&p->link, why);
  if (p->spec.role == WF_CLIENT) { w->waiting++; w->retry_at_ms = now_ms() + (was_up ? 0 : RETRY_MS); }
}

void try_connect(wf *w, uint32_t slot) {
  struct held_port *p = &w->ports[slot];
  int fd = link_connect(p->spec.path, p->netns.path);
  if (fd < 0) return;
  uint32_t log2 = p->spec.log2_ring ? p->spec.log2_ring : 10, bytes = p->spec.buffer_bytes ? p->spec.buffer_bytes : 2048;
  w->waiting--;
  if (link_begin_client(&p->link, fd, p->spec.mode, p->spec.memif_id, log2, bytes) < 0) { drop_link(w, slot, "no memory"); return; }
  watch(w, fd, WATCH_LINK, slot);
}

void drop_pending(wf *w, struct held_port *p, const char *why) {
  link_close(&p->pending, why);
  w->pendings--;
}

void accept_link(wf *w, uint32_t slot) {
  struct held_port *p = &w->ports[slot];
  int fd = accept4(p->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd < 0) { pause_without_descriptors(); return; }
  /* Whoever came before and has said nothing useful makes room. */
  if (p->pending.fd >= 0) drop_pending(w, p, "another client has come");
  w->pendings++;
  p->pending_since_ms = now_ms();
  if (link_begin_server(&p->pending, fd, p->spec.mode) < 0) { drop_pending(w, p, NULL); return; }
  if (p->up) { drop_pending(w, p, "this interface has a client"); return; }
  watch(w, fd, WATCH_PENDING, slot);
}

void hear_pending(wf *w, uint32_t slot) {
  struct held_port *p = &w->ports[slot];
  if (p->pending.fd < 0) return;
  int result = link_readable(&p->pending);
  if (result < 0) { drop_pending(w, p, p->pending.why); return; }
  if (result == 0) return;
  struct epoll_event event = {.events = EPOLLIN, .data.u64 = (uint64_t)WATCH_LINK << 32 | slot};
  epoll_ctl(w->epoll, EPOLL_CTL_MOD, p->pending.fd, &event);
  p->link = p->pending;
  memset(&p->pending, 0, sizeof p->pending);
  p->pending.fd = -1;
  for (int i = 0; i < MEMIF_MAX_REGIONS; i++) p->pending.region[i].fd = -1;
  p->pending.ring[0].fd = p->pending.ring[1].fd = -1;
  w->pendings--;
  set_up(w, slot, true);
}

void hear_link(wf *w, uint32_t slot) {
  struct held_port *p = &w->ports[slot];
  if (p->link.fd < 0) return;
  int result = link_readable(&p->link);
  if (result > 0) set_up(w, slot, true);
  if (result < 0) {
    char why[96];
    memcpy(why, p->link.why, sizeof why);
    drop_link(w, slot, why);
  }
}
