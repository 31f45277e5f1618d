/* SPDX-License-Identifier: Apache-2.0
 * Orders of the keeper, carried out between two bursts. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "devices.h"

void port_down(struct worker *w, struct port *p) {
  if (p->kind == 0) return;
  leave_hot(w, p);
  p->up = false;
  if (p->kind == WF_PORT_MEMIF) memif_down(p);
  else if (p->kind == WF_PORT_VXLAN && p->underlay != NULL) { drop_vni(w, p); leave_neighbour(p->next_hop); }
  else if (p->kind == WF_PORT_DEVICE && p->device != NULL) p->device->raw = NULL;
  else if (p->fd >= 0) close(p->fd);
  p->fd = -1;
  p->kind = 0;
  p->underlay = NULL;
  p->device = NULL;
  p->next_hop = NULL;
}

static void port_up(struct worker *w, uint32_t slot, const struct order_port *o, int *fds, uint32_t count) {
  struct port *p = &w->ports[slot];
  port_down(w, p);
  p->slot = slot;
  p->kind = o->kind;
  p->mode = o->mode;
  p->role = o->role;
  p->epoch = o->epoch;
  p->faulty = false;
  p->fd = p->rx.fd = p->tx.fd = -1;
  memcpy(p->mac, o->mac, 6);
  memcpy(p->own_mac, o->own_mac, 6);
  p->board = (struct wf_board_port *)(w->board + w->head->ports_at) + slot;
  if (p->kind == WF_PORT_MEMIF) {
    if (o->regions > MEMIF_MAX_REGIONS || count != o->regions + 2) return;
    for (uint32_t i = 0; i < count; i++) fds[i] = fds[i] < 0 ? -1 : fds[i];
    bool good = memif_up(w, p, o, fds);
    for (uint32_t i = 0; i < count; i++) fds[i] = -1; /* all taken */
    if (!good) complain(w, p, "its memory cannot be used");
    if (p->up) watch_descriptor(w, p->rx.fd, p);
  } else if (o->kind == WF_PORT_VXLAN) {
    if (o->underlay >= MAX_UNDERLAYS) return;
    tunnel_up(w, p, o);
  } else if (o->kind == WF_PORT_DEVICE) {
    if (o->underlay >= WF_MAX_DEVICES) return;
    p->device = &w->devices[o->underlay];
    p->device->raw = p;
    p->up = true;
  } else if (o->kind == WF_PORT_ECHO) {
    p->up = true;
  } else if (count == 1) {
    p->fd = fds[0];
    fds[0] = -1;
    p->up = true;
    watch_descriptor(w, p->fd, p);
  }
  heat(w, p);
}

static void carry_out(struct worker *w, const struct order *o, int *fds, uint32_t count) {
  switch (o->type) {
    case ORDER_PORT_UP:
      if (o->slot < WF_MAX_PORTS) port_up(w, o->slot, &o->port, fds, count);
      break;
    case ORDER_PORT_DOWN:
      if (o->slot < WF_MAX_PORTS) port_down(w, &w->ports[o->slot]);
      break;
    case ORDER_CONNECT:
      connect_directions(w, o->slot, &o->connect);
      break;
    case ORDER_DISCONNECT:
      disconnect_directions(w, o->slot);
      break;
    case ORDER_UNDERLAY_UP:
      if (o->slot >= MAX_UNDERLAYS) break;
      if (underlay_up(w, &w->underlays[o->slot], &o->underlay, count > 0 ? fds[0] : -1)) {
        if (count > 0) fds[0] = -1;
        w->underlays[o->slot].users = o->underlay.udp_port; /* the port that its tunnels talk to */
        if (w->underlays[o->slot].fd < 0) break;
        watch_descriptor(w, w->underlays[o->slot].fd, &w->underlays[o->slot]);
        heat(w, &w->underlays[o->slot]);
      }
      break;
    case ORDER_UNDERLAY_DOWN:
      if (o->slot >= MAX_UNDERLAYS) break;
      leave_hot(w, &w->underlays[o->slot]);
      underlay_down(w, &w->underlays[o->slot]);
      break;
    case ORDER_DEVICE_UP:
      if (o->slot >= WF_MAX_DEVICES) break;
      device_up(w, o->slot, &o->device, count > 0 ? fds[0] : -1);
      if (count > 0) fds[0] = -1;
      break;
    case ORDER_DEVICE_DOWN:
      if (o->slot >= WF_MAX_DEVICES) break;
      leave_hot(w, &w->devices[o->slot].port);
      device_down(w, o->slot);
      break;
    case ORDER_END:
      w->end = true;
      break;
  }
}

void take_orders(struct worker *w) {
  for (;;) {
    struct order o;
    struct iovec part = {&o, sizeof o};
    union { char bytes[CMSG_SPACE(sizeof(int) * MAX_ORDER_FDS)]; struct cmsghdr aligned; } control;
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    ssize_t n = recvmsg(w->orders, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return;
    if (n != (ssize_t)sizeof o) { w->end = true; return; } /* the keeper is gone */
    int fds[MAX_ORDER_FDS];
    uint32_t count = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&header); c != NULL; c = CMSG_NXTHDR(&header, c)) {
      if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
      for (; count < MAX_ORDER_FDS && CMSG_LEN((count + 1) * sizeof(int)) <= c->cmsg_len; count++) memcpy(&fds[count], CMSG_DATA(c) + count * sizeof(int), sizeof(int));
    }
    carry_out(w, &o, fds, count);
    for (uint32_t i = 0; i < count; i++) if (fds[i] >= 0) close(fds[i]);
    __atomic_store_n(&w->head->applied, o.number, __ATOMIC_RELEASE);
  }
}
