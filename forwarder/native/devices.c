/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "devices.h"

#include <dlfcn.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "moving.h"

#define TICK_NS 100000000ull
#define DEATHS 2 /* workers that may die of a driver before it is left alone */

static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;

/* The library lies beside this program. It is never unloaded: DPDK's threads stay. */
static const struct device_driver *load_driver(char *why, size_t room) {
  static const struct device_driver *loaded;
  if (loaded != NULL) return loaded;
  char path[300];
  ssize_t n = readlink("/proc/self/exe", path, sizeof path - sizeof DEVICE_DRIVER_LIBRARY - 1);
  if (n <= 0) return NULL;
  path[n] = 0;
  strcpy(strrchr(path, '/') + 1, DEVICE_DRIVER_LIBRARY);
  if (access(path, R_OK) < 0) {
    snprintf(why, room, "the core is built without DPDK: apt-get install libdpdk-dev, then npm run build:native");
    return NULL;
  }
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  const struct device_driver *(*find)(void) = NULL;
  if (library != NULL) *(void **)&find = dlsym(library, "weft_device_driver");
  if (find == NULL) {
    const char *text = dlerror();
    snprintf(why, room, "%s", text != NULL ? text : "the library of DPDK exports nothing");
    return NULL;
  }
  if (find()->abi != DEVICE_ABI) {
    snprintf(why, room, "%s has another version; build it again with npm run build:native", DEVICE_DRIVER_LIBRARY);
    return NULL;
  }
  return loaded = find();
}

static void *opener(void *argument) {
  struct device *d = argument;
  const struct device_options options = {d->spec.spec, d->spec.eal, d->spec.memory_mb, d->spec.huge, d->spec.mtu_bytes};
  pthread_mutex_lock(&one_at_a_time);
  d->driver = load_driver(d->why, sizeof d->why);
  if (d->driver == NULL) d->error = -ENOTSUP;
  else if (d->netns >= 0 && setns(d->netns, CLONE_NEWNET) < 0) {
    d->error = -errno;
    snprintf(d->why, sizeof d->why, "enter the network namespace of the device: %s", strerror(errno));
  } else d->error = d->driver->open(&options, &d->handle, &d->facts, d->why, sizeof d->why);
  pthread_mutex_unlock(&one_at_a_time);
  if (d->netns >= 0) close(d->netns);
  __atomic_store_n(&d->opening, 2, __ATOMIC_RELEASE);
  return NULL;
}

static void tell(struct worker *w, struct device *d) {
  struct complaint c = {.slot = COMPLAINT_DEVICE + (uint32_t)(d - w->devices)};
  if (send(w->orders, &c, sizeof c, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) { /* the board says it as well */ }
}

static void fail(struct worker *w, struct device *d, int error) {
  struct wf_board_device *b = d->board;
  snprintf(b->why, sizeof b->why, "%s", d->why);
  b->error = error;
  __atomic_store_n(&b->state, WF_DEVICE_FAILED, __ATOMIC_RELEASE);
  tell(w, d);
}

void device_up(struct worker *w, uint32_t slot, const struct wf_device *spec, int netns) {
  struct device *d = &w->devices[slot];
  struct wf_board_device *b = (struct wf_board_device *)(w->board + DEVICES_AT) + slot;
  uint16_t deaths = b->state == WF_DEVICE_OPENING ? (uint16_t)(b->deaths + 1) : b->deaths;
  memset(d, 0, sizeof *d);
  d->spec = *spec;
  d->board = b;
  d->used = true;
  d->netns = netns;
  d->port = (struct port){.kind = KIND_DEVICE, .fd = -1, .device = d};
  b->deaths = deaths;
  if (deaths >= DEATHS) {
    snprintf(d->why, sizeof d->why, "the driver ended the process %u times while it opened the device", deaths);
    fail(w, d, -EFAULT);
    if (netns >= 0) close(netns);
    return;
  }
  __atomic_store_n(&b->state, WF_DEVICE_OPENING, __ATOMIC_RELEASE);
  w->devices_open++;
  d->opening = 1;
  int error = pthread_create(&d->opener, NULL, opener, d);
  if (error) {
    snprintf(d->why, sizeof d->why, "start a thread: %s", strerror(error));
    d->opening = 0;
    w->devices_open--;
    if (netns >= 0) close(netns);
    fail(w, d, -error);
  }
}

static void finish(struct worker *w, struct device *d) {
  pthread_join(d->opener, NULL);
  d->opening = 0;
  if (d->error < 0) {
    w->devices_open--;
    fail(w, d, d->error);
    return;
  }
  struct wf_board_device *b = d->board;
  d->driver->enter();
  memcpy(b->mac, d->facts.mac, 6);
  snprintf(b->driver, sizeof b->driver, "%s", d->facts.driver);
  b->mtu_bytes = d->facts.mtu_bytes;
  b->link = d->driver->has_carrier(d->handle);
  b->deaths = 0;
  d->port.up = true;
  memcpy(d->port.own_mac, d->facts.mac, 6);
  __atomic_store_n(&b->state, WF_DEVICE_READY, __ATOMIC_RELEASE);
  heat(w, &d->port);
  tell(w, d);
}

void device_down(struct worker *w, uint32_t slot) {
  struct device *d = &w->devices[slot];
  if (!d->used) return;
  if (d->opening) { /* it cannot be stopped on its way */
    pthread_join(d->opener, NULL);
    d->opening = 0;
    if (d->error < 0) w->devices_open--;
  }
  if (d->handle != NULL) {
    d->driver->close(d->handle);
    w->devices_open--;
  }
  d->handle = NULL;
  d->port.up = d->used = false;
  d->board->state = WF_DEVICE_NONE;
}

bool tend_devices(struct worker *w) {
  bool open = false;
  for (uint32_t i = 0; i < WF_MAX_DEVICES; i++) {
    struct device *d = &w->devices[i];
    if (__atomic_load_n(&d->opening, __ATOMIC_ACQUIRE) == 2) finish(w, d);
    if (!is_ready(d)) continue;
    open = true;
    if (w->now_ns < d->tick_at_ns) continue;
    d->tick_at_ns = w->now_ns + TICK_NS;
    bool carrier = d->driver->has_carrier(d->handle);
    if (carrier != (d->board->link != 0)) {
      d->board->link = carrier;
      tell(w, d);
    }
    ask_neighbours(w, d);
  }
  return open;
}

uint32_t from_device(struct worker *w, struct port *p) {
  struct device *d = p->device;
  const uint8_t *frames[DEVICE_BURST];
  uint32_t lengths[DEVICE_BURST];
  struct direction *touched[DEVICE_BURST];
  uint32_t n = d->driver->receive(d->handle, frames, lengths), count = 0;
  d->board->rx += n;
  for (uint32_t i = 0; i < n; i++) {
    struct direction *x;
    if (d->raw != NULL) {
      x = d->raw->from;
    } else {
      const void *sender;
      struct port *underlay = hear_frame(w, d, &frames[i], &lengths[i], &sender);
      x = underlay == NULL ? NULL : from_tunnel(w, underlay, sender, &frames[i], &lengths[i]);
    }
    if (x == NULL) continue;
    if (!x->dst->up) { x->board->drop_down++; continue; }
    forward_one(w, x, frames[i], lengths[i]);
    if (!x->touched) { x->touched = true; touched[count++] = x; }
  }
  for (uint32_t i = 0; i < count; i++) {
    touched[i]->touched = false;
    commit(w, touched[i], 0);
  }
  return n;
}
