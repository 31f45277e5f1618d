/* SPDX-License-Identifier: Apache-2.0
 * The worker's loop. A port is hot while packets come: then it is polled, without a system call. A cold one has its
 * interrupt on and costs nothing. With nothing hot, the worker sleeps. */
#define _GNU_SOURCE
#include "devices.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define NAP_LEAST_US 40u        /* between two looks at an idle device … */
#define NAP_MOST_US 500u       /* … that has been idle for long */
#define LOOK_EVERY 64          /* passes between two looks at the cold ports while others are hot */
#define MEMIF_PATIENCE 2048    /* empty passes before a ring is cold */
#define DEVICE_PATIENCE 256    /* the same for a device */
#define DESCRIPTOR_PATIENCE 2  /* the same for a descriptor, whose look is a system call */

static const struct timespec at_once;

static bool is_ring(const struct port *p) { return p->kind == WF_PORT_MEMIF; }

static uint32_t patience(const struct port *p) { return is_ring(p) ? MEMIF_PATIENCE : p->kind == KIND_DEVICE ? DEVICE_PATIENCE : DESCRIPTOR_PATIENCE; }

static bool has_packets(const struct port *p) {
  const struct ring *r = &p->rx;
  return (uint16_t)(__atomic_load_n(p->role == WF_SERVER ? &r->memory->head : &r->memory->tail, __ATOMIC_ACQUIRE) - r->index) != 0;
}

void heat(struct worker *w, struct port *p) {
  p->idle = 0;
  if (p->hot || !p->up) return;
  p->hot = true;
  w->hot[w->hot_count++] = p;
  if (is_ring(p)) __atomic_fetch_or(&p->rx.memory->flags, MEMIF_MASK_INTERRUPT, __ATOMIC_SEQ_CST);
}

static void cool_at(struct worker *w, uint32_t place) {
  struct port *p = w->hot[place];
  if (is_ring(p) && p->up) {
    __atomic_fetch_and(&p->rx.memory->flags, (uint16_t)~MEMIF_MASK_INTERRUPT, __ATOMIC_SEQ_CST);
    /* A packet that came before the flag was seen has raised no interrupt. */
    if (p->from != NULL && has_packets(p)) {
      __atomic_fetch_or(&p->rx.memory->flags, MEMIF_MASK_INTERRUPT, __ATOMIC_SEQ_CST);
      p->idle = 0;
      return;
    }
  }
  p->hot = false;
  w->hot[place] = w->hot[--w->hot_count];
}

void leave_hot(struct worker *w, struct port *p) {
  for (uint32_t i = 0; i < w->hot_count; i++) {
    if (w->hot[i] != p) continue;
    w->hot[i] = w->hot[--w->hot_count];
    break;
  }
  p->hot = false;
}

void complain(struct worker *w, struct port *p, const char *why) {
  if (!p->up && !p->faulty && p->kind != WF_PORT_MEMIF) return;
  struct complaint c = {.slot = p->slot, .epoch = p->epoch};
  snprintf(c.why, sizeof c.why, "%s", why);
  p->up = false;
  p->faulty = false;
  leave_hot(w, p);
  p->board->faults++;
  if (send(w->orders, &c, sizeof c, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) { /* the keeper finds out by the peer */ }
}

void watch_descriptor(struct worker *w, int fd, struct port *p) {
  struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.ptr = p};
  epoll_ctl(w->epoll, EPOLL_CTL_ADD, fd, &event);
}

static void look(struct worker *w, const struct timespec *timeout) {
  struct epoll_event events[64];
  int n = epoll_pwait2(w->epoll, events, 64, timeout, NULL);
  if (n < 0 && errno == ENOSYS) n = epoll_wait(w->epoll, events, 64, timeout == NULL ? -1 : timeout->tv_nsec > 0 ? 1 : 0);
  for (int i = 0; i < n; i++) {
    if (events[i].data.ptr != NULL) heat(w, events[i].data.ptr);
    else take_orders(w);
  }
}

static void read_clock(struct worker *w) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  w->now_ns = (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

static bool prepare(struct worker *w) {
  size_t pool = (size_t)BURST * BUFFER_BYTES;
  w->ports = calloc(WF_MAX_PORTS, sizeof *w->ports);
  w->directions = calloc(2 * WF_MAX_CONNECTS, sizeof *w->directions);
  w->hot = calloc(WF_MAX_PORTS + MAX_UNDERLAYS + WF_MAX_DEVICES, sizeof *w->hot);
  w->devices = calloc(WF_MAX_DEVICES, sizeof *w->devices);
  w->vnis = calloc(4 * WF_MAX_PORTS, sizeof *w->vnis);
  w->scratch = mmap(NULL, 3 * pool, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (w->ports == NULL || w->directions == NULL || w->hot == NULL || w->vnis == NULL || w->devices == NULL || w->scratch == MAP_FAILED) return false;
  w->in = w->scratch + 2 * pool;
  for (uint32_t i = 0; i < WF_MAX_PORTS; i++) w->ports[i].fd = w->ports[i].rx.fd = w->ports[i].tx.fd = -1;
  for (uint32_t i = 0; i < MAX_UNDERLAYS; i++) w->underlays[i].fd = -1;
  for (uint32_t i = 0; i < BURST; i++) {
    w->in_parts[i] = (struct iovec){w->in + (size_t)i * BUFFER_BYTES, BUFFER_BYTES};
    w->in_messages[i].msg_hdr = (struct msghdr){.msg_iov = &w->in_parts[i], .msg_iovlen = 1, .msg_name = &w->in_from[i], .msg_namelen = sizeof w->in_from[i]};
  }
  w->epoll = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
  return w->epoll >= 0 && epoll_ctl(w->epoll, EPOLL_CTL_ADD, w->orders, &event) == 0;
}

static void give_back(struct worker *w) {
  for (uint32_t i = 0; w->ports != NULL && i < WF_MAX_PORTS; i++) port_down(w, &w->ports[i]);
  for (uint32_t i = 0; i < MAX_UNDERLAYS; i++) underlay_down(w, &w->underlays[i]);
  for (uint32_t i = 0; w->devices != NULL && i < WF_MAX_DEVICES; i++) device_down(w, i);
  if (w->scratch != MAP_FAILED && w->scratch != NULL) munmap(w->scratch, (size_t)3 * BURST * BUFFER_BYTES);
  if (w->epoll >= 0) close(w->epoll);
  free(w->ports);
  free(w->directions);
  free(w->hot);
  free(w->devices);
  free(w->vnis);
}

/* Devices have no descriptor to wait for: they are looked at now and then. */
static uint32_t visit_devices(struct worker *w) {
  uint32_t moved = 0;
  tend_devices(w);
  for (uint32_t i = 0; i < WF_MAX_DEVICES; i++) {
    struct port *p = &w->devices[i].port;
    if (!p->up || p->hot) continue;
    uint32_t count = poll_port(w, p);
    if (count > 0) heat(w, p);
    moved += count;
  }
  return moved;
}

/* Nothing is hot: sleeps until something comes; with a device open for a moment only, longer the longer nothing comes. */
static void rest(struct worker *w) {
  w->head->sleeps++;
  if (w->devices_open == 0) {
    look(w, NULL);
    read_clock(w);
    return;
  }
  w->nap_us = w->nap_us == 0 ? NAP_LEAST_US : w->nap_us < NAP_MOST_US ? w->nap_us + w->nap_us / 8 : NAP_MOST_US;
  look(w, &(struct timespec){.tv_nsec = w->nap_us * 1000});
  read_clock(w);
  if (visit_devices(w) > 0) w->nap_us = 0;
}

int worker_run(int orders, uint8_t *board) {
  struct worker *w = calloc(1, sizeof *w);
  if (w == NULL) return 1;
  w->orders = orders;
  w->board = board;
  w->epoll = -1;
  w->head = (struct wf_board_head *)board;
  bool good = prepare(w);
  w->head->worker_pid = (uint32_t)getpid();
  w->head->worker_starts++;
  uint64_t passes = 0, empty = 0;
  while (good && !w->end) {
    if (__atomic_load_n(&w->head->sent, __ATOMIC_ACQUIRE) != w->head->applied) take_orders(w);
    if (passes % 8 == 0) read_clock(w);
    uint32_t moved = 0;
    w->congested = false;
    for (uint32_t i = 0; i < w->hot_count;) {
      struct port *p = w->hot[i];
      uint32_t count = poll_port(w, p);
      moved += count;
      if (count > 0) p->idle = 0;
      else if (++p->idle >= patience(p) && i < w->hot_count && w->hot[i] == p) cool_at(w, i);
      if (i < w->hot_count && w->hot[i] == p) i++;
    }
    w->head->passes = ++passes;
    empty = moved > 0 ? 0 : empty + 1;
    /* Whoever shares this core may be the one that we wait for: the sender, or the receiver that has to make room. */
    if (w->hot_count > 0 && (w->congested || empty % 16 == 15)) sched_yield();
    if (w->hot_count == 0) rest(w);
    else if (passes % LOOK_EVERY == 0) {
      look(w, &at_once);
      if (w->devices_open > 0) visit_devices(w);
    }
  }
  give_back(w);
  close(orders);
  free(w);
  return good ? 0 : 1;
}
