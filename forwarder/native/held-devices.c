/* SPDX-License-Identifier: Apache-2.0
 * Devices that are wanted. The keeper only remembers them: a driver runs in the worker alone, where it can do no harm. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>

#include "held.h"

struct wf_board_device *board_device(wf *w, uint32_t slot) { return (struct wf_board_device *)(w->board + DEVICES_AT) + slot; }

int find_device(wf *w, const char *name) {
  for (int i = 0; i < WF_MAX_DEVICES; i++) if (w->devices[i].used && strcmp(w->devices[i].spec.name, name) == 0) return i;
  return -ENOENT;
}

static int check_device(const struct wf_device *d) {
  if (!text_ends(d->name, sizeof d->name) || !text_ends(d->netns, sizeof d->netns) || !text_ends(d->spec, sizeof d->spec) || !text_ends(d->eal, sizeof d->eal) || d->name[0] == 0 || d->spec[0] == 0)
    return refuse(-EINVAL, "device without a name or without what it is");
  uint32_t most = d->family == 6 ? 128 : 32;
  if ((d->family != 0 && d->family != 4 && d->family != 6) || (d->family != 0 && (d->prefix_bits == 0 || d->prefix_bits > most)))
    return refuse(-EINVAL, "device %s: address of family %u with a prefix of %u", d->name, d->family, d->prefix_bits);
  if (d->huge > WF_HUGE_NEVER || d->memory_mb > 1u << 20 || (d->memory_mb != 0 && d->memory_mb < 64)) return refuse(-EINVAL, "device %s: %u MiB, huge pages %u", d->name, d->memory_mb, d->huge);
  if (d->mtu_bytes != 0 && (d->mtu_bytes < 576 || d->mtu_bytes > 9600)) return refuse(-EINVAL, "device %s: MTU of %u", d->name, d->mtu_bytes);
  /* DPDK's memif driver trusts its peer, and its ports are few: workloads have ports of kind MEMIF. */
  if (strncmp(d->spec, "net_memif", 9) == 0) return refuse(-EPERM, "device %s: net_memif trusts its peer; use a port of kind MEMIF", d->name);
  return 0;
}

/* Asked again with another path of the same namespace it is the same device. */
static bool same_device(const struct held_device *held, const struct wf_device *d) {
  struct wf_device one = held->spec, other = *d;
  struct place place;
  memset(one.netns, 0, sizeof one.netns);
  memset(other.netns, 0, sizeof other.netns);
  if (memcmp(&one, &other, sizeof one) != 0 || enter_place(&place, d->netns) < 0) return false;
  bool same = same_place(&place, &held->netns);
  leave_place(&place);
  return same;
}

static int add_device(wf *w, const struct wf_device *d) {
  if (w->how != WF_PROCESS) return refuse(-ENOTSUP, "device %s: drivers run in a worker process only, this core has threads", d->name);
  int slot = find_device(w, d->name);
  if (slot >= 0) return same_device(&w->devices[slot], d) ? slot : refuse(-EEXIST, "device %s", d->name);
  for (slot = 0; slot < WF_MAX_DEVICES && w->devices[slot].used; slot++) {}
  if (slot == WF_MAX_DEVICES) return refuse(-ENOSPC, "device %s: there are %u", d->name, WF_MAX_DEVICES);
  struct place netns;
  int error = enter_place(&netns, d->netns);
  if (error < 0) return refuse(error, "device %s: open its network namespace", d->name);
  w->devices[slot] = (struct held_device){.spec = *d, .netns = netns, .used = true};
  memset(board_device(w, (uint32_t)slot), 0, sizeof(struct wf_board_device));
  order_device(w, (uint32_t)slot);
  return slot;
}

int wf_device_add(wf *w, const struct wf_device *device) {
  int result = check_device(device);
  if (result < 0) return result;
  pthread_mutex_lock(&w->lock);
  result = add_device(w, device);
  pthread_mutex_unlock(&w->lock);
  return result;
}

int wf_device_del(wf *w, uint32_t slot) {
  pthread_mutex_lock(&w->lock);
  int result = 0;
  if (slot >= WF_MAX_DEVICES || !w->devices[slot].used) result = refuse(-ENOENT, "device %u", slot);
  else if (w->devices[slot].users > 0) result = refuse(-EBUSY, "device %s", w->devices[slot].spec.name);
  if (result == 0) {
    w->devices[slot].used = false;
    leave_place(&w->devices[slot].netns);
    order_plain(w, ORDER_DEVICE_DOWN, slot);
  }
  pthread_mutex_unlock(&w->lock);
  return result;
}
