/* SPDX-License-Identifier: Apache-2.0
 * Underlays: one UDP socket per local address and port carries every VXLAN tunnel that starts there. */
#define _GNU_SOURCE
#include <string.h>
#include <unistd.h>

#include "worker.h"

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

bool underlay_up(struct worker *w, struct port *u, const struct order_underlay *o, int fd) {
  (void)w;
  memset(u, 0, sizeof *u);
  u->kind = KIND_UNDERLAY;
  u->family = o->family;
  u->fd = fd;
  u->up = fd >= 0;
  return u->up;
}

void underlay_down(struct worker *w, struct port *u) {
  (void)w;
  if (u->fd >= 0) close(u->fd);
  u->fd = -1;
  u->up = false;
}
