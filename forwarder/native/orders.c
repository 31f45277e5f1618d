/* SPDX-License-Identifier: Apache-2.0
 * What the keeper tells the worker. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "held.h"

static void order(wf *w, struct order *o, const int *fds, uint32_t count) {
  if (w->orders < 0) return; /* it is told everything when it starts */
  o->number = w->head->sent + 1;
  o->descriptors = count;
  struct iovec part = {o, sizeof *o};
  union { char bytes[CMSG_SPACE(sizeof(int) * MAX_ORDER_FDS)]; struct cmsghdr aligned; } control;
  struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
  if (count > 0) {
    memset(&control, 0, sizeof control);
    header.msg_control = control.bytes;
    header.msg_controllen = CMSG_SPACE(sizeof(int) * count);
    struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int) * count);
    memcpy(CMSG_DATA(rights), fds, sizeof(int) * count);
  }
  ssize_t n;
  do n = sendmsg(w->orders, &header, MSG_NOSIGNAL); while (n < 0 && errno == EINTR);
  /* A worker that takes no order within the socket's time limit is as good as dead; it will be told all again. */
  if (n != (ssize_t)sizeof *o) shutdown(w->orders, SHUT_RDWR);
  __atomic_store_n(&w->head->sent, o->number, __ATOMIC_RELEASE);
}

static void own_mac(const char *name, uint8_t mac[6]) {
  uint64_t hash = 14695981039346656037ull;
  for (; *name; name++) hash = (hash ^ (uint8_t)*name) * 1099511628211ull;
  for (int i = 1; i < 6; i++) mac[i] = (uint8_t)(hash >> (8 * i));
  mac[0] = 0x02;
}

void order_port(wf *w, uint32_t slot) {
  struct held_port *p = &w->ports[slot];
  struct order o = {.type = ORDER_PORT_UP, .slot = slot};
  int fds[MAX_ORDER_FDS];
  uint32_t count = 0;
  o.port.kind = p->spec.kind;
  o.port.mode = p->spec.mode;
  o.port.role = p->spec.role;
  o.port.epoch = p->epoch;
  memcpy(o.port.mac, p->spec.mac, 6);
  own_mac(p->spec.name, o.port.own_mac);
  if (p->spec.kind == WF_PORT_MEMIF) {
    o.port.buffer_bytes = p->link.buffer_bytes;
    o.port.regions = p->link.regions;
    for (uint32_t i = 0; i < p->link.regions; i++) {
      o.port.region_bytes[i] = p->link.region[i].bytes;
      fds[count++] = p->link.region[i].fd;
    }
    for (int i = 0; i < 2; i++) {
      o.port.ring[i].region = p->link.ring[i].region;
      o.port.ring[i].log2 = p->link.ring[i].log2;
      o.port.ring[i].offset = p->link.ring[i].offset;
      fds[count++] = p->link.ring[i].fd;
    }
  } else if (p->spec.kind == WF_PORT_VXLAN) {
    o.port.underlay = p->underlay;
    o.port.vni = p->spec.vni;
    memcpy(o.port.remote, p->spec.remote, 16);
  } else if (p->spec.kind == WF_PORT_DEVICE) {
    o.port.underlay = p->device - 1;
  } else if (p->fd >= 0) {
    fds[count++] = p->fd;
  }
  order(w, &o, fds, count);
}

void order_underlay(wf *w, uint32_t slot) {
  struct held_underlay *u = &w->underlays[slot];
  struct order o = {.type = ORDER_UNDERLAY_UP, .slot = slot};
  o.underlay.kind = u->spec.underlay;
  o.underlay.family = u->spec.family;
  o.underlay.udp_port = u->spec.udp_port;
  o.underlay.device = u->device;
  memcpy(o.underlay.local, u->spec.local, 16);
  order(w, &o, &u->fd, u->fd >= 0 ? 1 : 0);
}

void order_plain(wf *w, uint32_t type, uint32_t slot) {
  struct order o = {.type = type, .slot = slot};
  order(w, &o, NULL, 0);
}

void order_connect(wf *w, uint32_t slot) {
  struct order o = {.type = ORDER_CONNECT, .slot = slot, .connect = w->connects[slot].spec};
  order(w, &o, NULL, 0);
}

void order_device(wf *w, uint32_t slot) {
  struct order o = {.type = ORDER_DEVICE_UP, .slot = slot, .device = w->devices[slot].spec};
  int fd = w->devices[slot].netns.fd;
  order(w, &o, &fd, fd >= 0 ? 1 : 0);
}
