/* SPDX-License-Identifier: Apache-2.0
 * Ports that are wanted: checked, opened, remembered, taken away. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "held.h"
#include "ports.h"

void clear_port(wf *w, uint32_t slot) {
  struct held_port *p = &w->ports[slot];
  if (!p->used) return;
  if (p->spec.kind == WF_PORT_MEMIF && p->spec.role == WF_CLIENT && p->link.fd < 0) w->waiting--;
  if (p->up) order_plain(w, ORDER_PORT_DOWN, slot);
  if (p->pending.fd >= 0) drop_pending(w, p, "the interface is removed");
  if (p->link.fd >= 0) link_close(&p->link, "the interface is removed");
  if (p->listener >= 0) {
    close(p->listener);
    if (p->spec.path[0] != '@') unlink(p->spec.path);
  }
  if (p->fd >= 0) close(p->fd);
  if (p->near >= 0) part_pair(w, slot);
  leave_place(&p->netns);
  leave_place(&p->peer_netns);
  if (p->spec.kind == WF_PORT_VXLAN) {
    struct held_underlay *u = &w->underlays[p->underlay];
    if (--u->users == 0) {
      order_plain(w, ORDER_UNDERLAY_DOWN, p->underlay);
      if (u->spec.underlay == WF_UNDERLAY_DEVICE) w->devices[u->device].users--;
      if (u->fd >= 0) close(u->fd);
      u->fd = -1;
      leave_place(&u->netns);
    }
  }
  if (p->device != 0) w->devices[p->device - 1].users--;
  p->used = p->up = false;
  board_port(w, slot)->link = WF_LINK_NONE;
}

bool text_ends(const char *text, size_t room) { return memchr(text, 0, room) != NULL; }

static int check_port(const struct wf_port *port) {
  if (!text_ends(port->name, sizeof port->name) || !text_ends(port->netns, sizeof port->netns) || !text_ends(port->path, sizeof port->path) ||
      !text_ends(port->peer_path, sizeof port->peer_path) || !text_ends(port->peer_netns, sizeof port->peer_netns) || port->name[0] == 0)
    return refuse(-EINVAL, "port without a name, or text without an end");
  if (port->kind < WF_PORT_MEMIF || port->kind > WF_PORT_DEVICE || port->mode > WF_IP || port->role > WF_CLIENT) return refuse(-EINVAL, "port %s: kind %u, mode %u, role %u", port->name, port->kind, port->mode, port->role);
  if (port->log2_ring > MEMIF_MAX_LOG2_RING || port->buffer_bytes > 65536 || port->buffer_bytes % 64 != 0) return refuse(-EINVAL, "port %s: ring of 2^%u buffers of %u bytes", port->name, port->log2_ring, port->buffer_bytes);
  if (port->kind == WF_PORT_VXLAN && ((port->family != 4 && port->family != 6) || port->vni == 0 || port->vni >= 1u << 24 || port->udp_port == 0 || port->mode != WF_ETHERNET || port->underlay > WF_UNDERLAY_DEVICE)) return refuse(-EINVAL, "port %s: vni %u, UDP port %u", port->name, port->vni, port->udp_port);
  if (port->kind != WF_PORT_VXLAN && port->kind != WF_PORT_ECHO && port->path[0] == 0) return refuse(-EINVAL, "port %s: no socket or interface", port->name);
  return 0;
}

static int take_underlay(wf *w, const struct wf_port *port, const struct place *netns) {
  int free = -1;
  for (int i = 0; i < MAX_UNDERLAYS; i++) {
    const struct held_underlay *u = &w->underlays[i];
    if (u->users == 0) { if (free < 0) free = i; continue; }
    if (u->spec.family == port->family && u->spec.udp_port == port->udp_port && u->spec.underlay == port->underlay && (port->underlay == WF_UNDERLAY_UDP || strcmp(u->spec.path, port->path) == 0) && memcmp(u->spec.local, port->local, 16) == 0 && same_place(&u->netns, netns)) return i;
  }
  if (free < 0) return refuse(-ENOSPC, "port %s: more than %d tunnel addresses", port->name, MAX_UNDERLAYS);
  int fd = -1, device = 0;
  if (port->underlay == WF_UNDERLAY_UDP) {
    fd = open_underlay(port);
    if (fd < 0) return refuse(fd, "port %s: bind UDP port %u of the tunnel address", port->name, port->udp_port);
  } else {
    device = find_device(w, port->path);
    if (device < 0) return refuse(device, "port %s: device %s", port->name, port->path);
    const struct wf_device *d = &w->devices[device].spec;
    if (d->family != port->family || memcmp(d->address, port->local, 16) != 0) return refuse(-EADDRNOTAVAIL, "port %s: device %s has another address", port->name, port->path);
    w->devices[device].users++;
  }
  w->underlays[free].spec = *port;
  w->underlays[free].fd = fd;
  w->underlays[free].device = (uint32_t)device;
  enter_place(&w->underlays[free].netns, netns->path);
  w->underlays[free].netns.dev = netns->dev;
  w->underlays[free].netns.ino = netns->ino;
  order_underlay(w, (uint32_t)free);
  return free;
}

static int open_port(wf *w, uint32_t slot) {
  struct held_port *p = &w->ports[slot];
  switch (p->spec.kind) {
    case WF_PORT_MEMIF:
      if (p->spec.role == WF_CLIENT) return 0;
      p->listener = link_listen(p->spec.path, p->netns.path);
      return p->listener < 0 ? refuse(p->listener, "port %s: listen on %s", p->spec.name, p->spec.path) : 0;
    case WF_PORT_PROXY:
      p->listener = link_listen(p->spec.path, p->netns.path);
      return p->listener < 0 ? refuse(p->listener, "port %s: listen on %s", p->spec.name, p->spec.path) : 0;
    case WF_PORT_PACKET:
      p->fd = open_packet_port(&p->spec);
      return p->fd < 0 ? refuse(p->fd, "port %s: open interface %s", p->spec.name, p->spec.path) : 0;
    case WF_PORT_TAP:
      p->fd = open_tap_port(&p->spec);
      return p->fd < 0 ? refuse(p->fd, "port %s: make interface %s", p->spec.name, p->spec.path) : 0;
    case WF_PORT_VXLAN: {
      for (uint32_t i = 0; i < w->port_top; i++) {
        const struct held_port *other = &w->ports[i];
        if (other->used && other != p && other->spec.kind == WF_PORT_VXLAN && other->spec.vni == p->spec.vni && other->spec.udp_port == p->spec.udp_port && same_place(&other->netns, &p->netns))
          return refuse(-EADDRINUSE, "port %s: vni %u on UDP port %u", p->spec.name, p->spec.vni, p->spec.udp_port);
      }
      int underlay = take_underlay(w, &p->spec, &p->netns);
      if (underlay < 0) return underlay;
      w->underlays[underlay].users++;
      p->underlay = (uint32_t)underlay;
      return 0;
    }
    case WF_PORT_DEVICE: {
      int device = find_device(w, p->spec.path);
      if (device < 0) return refuse(device, "port %s: device %s", p->spec.name, p->spec.path);
      if (w->devices[device].users > 0) return refuse(-EBUSY, "port %s: device %s", p->spec.name, p->spec.path);
      w->devices[device].users++;
      p->device = (uint32_t)device + 1;
      return 0;
    }
    default:
      return 0;
  }
}

/* Asked again with paths of the same namespaces it is the same port. */
static bool same_port(const struct held_port *held, const struct wf_port *port) {
  struct wf_port one = held->spec, other = *port;
  memset(one.netns, 0, sizeof one.netns);
  memset(other.netns, 0, sizeof other.netns);
  memset(one.peer_netns, 0, sizeof one.peer_netns);
  memset(other.peer_netns, 0, sizeof other.peer_netns);
  if (memcmp(&one, &other, sizeof one) != 0) return false;
  struct place near, far;
  bool same = enter_place(&near, port->netns) == 0 && same_place(&near, &held->netns);
  same = enter_place(&far, port->peer_netns) == 0 && same && same_place(&far, &held->peer_netns);
  leave_place(&near);
  leave_place(&far);
  return same;
}

static int add_port(wf *w, const struct wf_port *port) {
  uint32_t free = WF_MAX_PORTS;
  for (uint32_t i = 0; i < w->port_top; i++) {
    if (!w->ports[i].used) { if (free == WF_MAX_PORTS) free = i; continue; }
    if (strcmp(w->ports[i].spec.name, port->name) != 0) continue;
    return same_port(&w->ports[i], port) ? (int)i : refuse(-EEXIST, "port %s", port->name);
  }
  if (free == WF_MAX_PORTS) free = w->port_top;
  if (free >= WF_MAX_PORTS) return refuse(-ENOSPC, "port %s: there are %u", port->name, WF_MAX_PORTS);
  struct held_port *p = &w->ports[free];
  uint32_t epoch = p->epoch;
  memset(p, 0, sizeof *p);
  p->spec = *port;
  p->epoch = epoch;
  p->fd = p->listener = p->near = p->far = p->link.fd = p->pending.fd = p->netns.fd = p->peer_netns.fd = -1;
  for (int i = 0; i < MEMIF_MAX_REGIONS; i++) p->link.region[i].fd = p->pending.region[i].fd = -1;
  for (int i = 0; i < 2; i++) p->link.ring[i].fd = p->pending.ring[i].fd = -1;
  int error = enter_place(&p->netns, port->netns);
  if (error == 0) error = enter_place(&p->peer_netns, port->peer_netns);
  if (error < 0) error = refuse(error, "port %s: open its network namespace", port->name);
  /* What is opened now is opened by a path of our own. */
  snprintf(p->spec.netns, sizeof p->spec.netns, "%s", p->netns.path);
  if (error == 0) error = open_port(w, free);
  if (error < 0) {
    leave_place(&p->netns);
    leave_place(&p->peer_netns);
    return error;
  }
  p->used = true;
  if (free == w->port_top) w->port_top++;
  struct wf_board_port *b = board_port(w, free);
  b->breaks = b->faults = 0;
  b->link = WF_LINK_DOWN;
  if (port->kind == WF_PORT_PROXY) {
    watch(w, p->listener, WATCH_LISTENER, free);
  } else if (port->kind != WF_PORT_MEMIF) {
    set_up(w, free, true);
  } else if (port->role == WF_SERVER) {
    watch(w, p->listener, WATCH_LISTENER, free);
  } else {
    w->waiting++;
    w->retry_at_ms = 0;
    wake(w);
  }
  return (int)free;
}

int wf_port_add(wf *w, const struct wf_port *port) {
  int result = check_port(port);
  if (result < 0) return result;
  pthread_mutex_lock(&w->lock);
  result = add_port(w, port);
  pthread_mutex_unlock(&w->lock);
  return result;
}

int wf_port_del(wf *w, uint32_t slot) {
  pthread_mutex_lock(&w->lock);
  int result = slot >= w->port_top || !w->ports[slot].used ? refuse(-ENOENT, "port %u", slot) : w->ports[slot].connect != 0 ? refuse(-EBUSY, "port %s is joined", w->ports[slot].spec.name) : 0;
  if (result == 0) clear_port(w, slot);
  pthread_mutex_unlock(&w->lock);
  return result;
}
