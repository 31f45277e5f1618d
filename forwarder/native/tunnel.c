/* SPDX-License-Identifier: Apache-2.0
 * Underlays: one UDP socket per local address and port carries every VXLAN tunnel that starts there. */
#define _GNU_SOURCE
#include <string.h>
#include <unistd.h>

#include "devices.h"

#define VNI_SLOTS (4 * WF_MAX_PORTS)

static uint64_t key_of(const struct worker *w, const struct port *underlay, uint32_t vni) {
  return (uint64_t)(underlay - w->underlays + 1) << 32 | vni;
}
static uint32_t place_of(uint64_t key) { return (uint32_t)((key * 0x9e3779b97f4a7c15ull) >> 40) % VNI_SLOTS; }

struct port *find_vni(struct worker *w, const struct port *underlay, uint32_t vni) {
  uint64_t key = key_of(w, underlay, vni);
  for (uint32_t i = place_of(key);; i = (i + 1) % VNI_SLOTS) {
    if (w->vnis[i].key == key) return w->vnis[i].port;
    if (w->vnis[i].key == 0) return NULL;
  }
}

void add_vni(struct worker *w, struct port *p) {
  uint64_t key = key_of(w, p->underlay, p->vni);
  uint32_t i = place_of(key);
  while (w->vnis[i].key != 0 && w->vnis[i].key != key) i = (i + 1) % VNI_SLOTS;
  w->vnis[i].key = key;
  w->vnis[i].port = p;
}

/* Whoever stands behind a gap in a chain of collisions would be lost, so the whole chain is entered again. */
void drop_vni(struct worker *w, struct port *p) {
  uint64_t key = key_of(w, p->underlay, p->vni);
  uint32_t i = place_of(key);
  while (w->vnis[i].key != key) {
    if (w->vnis[i].key == 0) return;
    i = (i + 1) % VNI_SLOTS;
  }
  if (w->vnis[i].port != p) return;
  w->vnis[i].key = 0;
  for (i = (i + 1) % VNI_SLOTS; w->vnis[i].key != 0; i = (i + 1) % VNI_SLOTS) {
    struct port *other = w->vnis[i].port;
    w->vnis[i].key = 0;
    add_vni(w, other);
  }
}

struct direction *from_tunnel(struct worker *w, struct port *u, const void *sender, const uint8_t **data, uint32_t *length) {
  const uint8_t *head = *data;
  if (*length < 8 + 14 || !(head[0] & 0x08)) return NULL;
  struct port *p = find_vni(w, u, (uint32_t)head[4] << 16 | (uint32_t)head[5] << 8 | head[6]);
  if (p == NULL || p->from == NULL) return NULL;
  /* Only the other end of the tunnel may speak for it. */
  bool known = p->family == 6 ? memcmp(sender, &p->remote.sin6_addr, 16) == 0 : memcmp(sender, &((struct sockaddr_in *)&p->remote)->sin_addr, 4) == 0;
  if (!known) { p->from->board->drop_bad++; return NULL; }
  *data += 8;
  *length -= 8;
  return p->from;
}

bool underlay_up(struct worker *w, struct port *u, const struct order_underlay *o, int fd) {
  memset(u, 0, sizeof *u);
  u->kind = KIND_UNDERLAY;
  u->family = o->family;
  u->fd = fd;
  u->device = o->kind == WF_UNDERLAY_DEVICE && o->device < WF_MAX_DEVICES ? &w->devices[o->device] : NULL;
  u->up = fd >= 0 || u->device != NULL;
  memcpy(u->local, o->local, 16);
  return u->up;
}

void underlay_down(struct worker *w, struct port *u) {
  (void)w;
  if (u->fd >= 0) close(u->fd);
  u->fd = -1;
  u->device = NULL;
  u->up = false;
}

void tunnel_up(struct worker *w, struct port *p, const struct order_port *o) {
  p->underlay = &w->underlays[o->underlay];
  p->vni = o->vni;
  p->family = p->underlay->family;
  memset(&p->remote, 0, sizeof p->remote);
  if (p->family == 6) {
    p->remote.sin6_family = AF_INET6;
    p->remote.sin6_port = htons((uint16_t)p->underlay->users);
    memcpy(&p->remote.sin6_addr, o->remote, 16);
  } else {
    struct sockaddr_in *v4 = (struct sockaddr_in *)&p->remote;
    v4->sin_family = AF_INET;
    v4->sin_port = htons((uint16_t)p->underlay->users);
    memcpy(&v4->sin_addr, o->remote, 4);
  }
  add_vni(w, p);
  uint8_t hop[16];
  struct device *d = p->underlay->device;
  if (d != NULL && next_hop_of(d, o->remote, hop)) p->next_hop = want_neighbour(d, hop);
  p->up = true;
}
