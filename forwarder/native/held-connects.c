/* SPDX-License-Identifier: Apache-2.0
 * Cross-connects that are wanted. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>

#include "held.h"

static int set_connect(wf *w, const struct wf_connect *c) {
  uint32_t slot = WF_MAX_CONNECTS, free = WF_MAX_CONNECTS;
  for (uint32_t i = 0; i < w->connect_top; i++) {
    if (!w->connects[i].used) { if (free == WF_MAX_CONNECTS) free = i; }
    else if (strcmp(w->connects[i].spec.name, c->name) == 0) slot = i;
  }
  const uint32_t ports[2] = {c->port_a, c->port_b};
  for (int i = 0; i < 2; i++) {
    if (ports[i] >= w->port_top || !w->ports[ports[i]].used || w->ports[ports[i]].spec.kind == WF_PORT_PROXY) return refuse(-ENOENT, "connect %s: port %u", c->name, ports[i]);
    uint32_t other = w->ports[ports[i]].connect;
    if (other != 0 && other != slot + 1) return refuse(-EBUSY, "connect %s: port %s is joined", c->name, w->ports[ports[i]].spec.name);
  }
  if (slot == WF_MAX_CONNECTS) {
    slot = free != WF_MAX_CONNECTS ? free : w->connect_top;
    if (slot >= WF_MAX_CONNECTS) return refuse(-ENOSPC, "connect %s: there are %u", c->name, WF_MAX_CONNECTS);
    if (slot == w->connect_top) w->connect_top++;
  } else {
    struct wf_connect *before = &w->connects[slot].spec;
    w->ports[before->port_a].connect = w->ports[before->port_b].connect = 0;
  }
  w->connects[slot].spec = *c;
  w->connects[slot].used = true;
  w->ports[c->port_a].connect = w->ports[c->port_b].connect = slot + 1;
  order_connect(w, slot);
  return (int)slot;
}

int wf_connect_set(wf *w, const struct wf_connect *c) {
  if (!text_ends(c->name, sizeof c->name) || c->name[0] == 0 || c->port_a == c->port_b || (c->dscp > 63 && c->dscp != 255)) return refuse(-EINVAL, "connect: a name, two ports, and a DSCP of 0…63 or 255");
  pthread_mutex_lock(&w->lock);
  int result = set_connect(w, c);
  pthread_mutex_unlock(&w->lock);
  return result;
}

int wf_connect_del(wf *w, uint32_t slot) {
  pthread_mutex_lock(&w->lock);
  int result = slot < w->connect_top && w->connects[slot].used ? 0 : refuse(-ENOENT, "connect %u", slot);
  if (result == 0) {
    const struct wf_connect *c = &w->connects[slot].spec;
    w->ports[c->port_a].connect = w->ports[c->port_b].connect = 0;
    w->connects[slot].used = false;
    order_plain(w, ORDER_DISCONNECT, slot);
  }
  pthread_mutex_unlock(&w->lock);
  return result;
}
