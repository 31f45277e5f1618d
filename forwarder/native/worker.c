/* SPDX-License-Identifier: Apache-2.0
 * The worker's loop. A port is hot while packets come: then it is polled, without a system call. A cold one has its
 * interrupt on and costs nothing. With nothing hot, the worker sleeps. */
#define _GNU_SOURCE
#include "worker.h"

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

#define LOOK_EVERY 64          /* passes between two looks at the cold ports while others are hot */
#define MEMIF_PATIENCE 2048    /* empty passes before a ring is cold */
#define DESCRIPTOR_PATIENCE 2  /* the same for a descriptor, whose look is a system call */

static bool is_ring(const struct port *p) { return p->kind == WF_PORT_MEMIF; }

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

static void leave_hot(struct worker *w, struct port *p) {
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

static void watch(struct worker *w, int fd, struct port *p) {
  struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.ptr = p};
  epoll_ctl(w->epoll, EPOLL_CTL_ADD, fd, &event);
}

static void port_down(struct worker *w, struct port *p) {
  if (p->kind == 0) return;
  leave_hot(w, p);
  p->up = false;
  if (is_ring(p)) memif_down(p);
  else if (p->kind == WF_PORT_VXLAN && p->underlay != NULL) drop_vni(w, p);
  else if (p->fd >= 0) close(p->fd);
  p->fd = -1;
  p->kind = 0;
  p->underlay = NULL;
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
  if (is_ring(p)) {
    if (o->regions > MEMIF_MAX_REGIONS || count != o->regions + 2) return;
    for (uint32_t i = 0; i < count; i++) fds[i] = fds[i] < 0 ? -1 : fds[i];
    bool good = memif_up(w, p, o, fds);
    for (uint32_t i = 0; i < count; i++) fds[i] = -1; /* all taken */
    if (!good) complain(w, p, "its memory cannot be used");
    if (p->up) watch(w, p->rx.fd, p);
  } else if (o->kind == WF_PORT_VXLAN) {
    if (o->underlay >= MAX_UNDERLAYS) return;
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
    p->up = true;
  } else if (o->kind == WF_PORT_ECHO) {
    p->up = true;
  } else if (count == 1) {
    p->fd = fds[0];
    fds[0] = -1;
    p->up = true;
    watch(w, p->fd, p);
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
        watch(w, w->underlays[o->slot].fd, &w->underlays[o->slot]);
        heat(w, &w->underlays[o->slot]);
      }
      break;
    case ORDER_UNDERLAY_DOWN:
      if (o->slot >= MAX_UNDERLAYS) break;
      leave_hot(w, &w->underlays[o->slot]);
      underlay_down(w, &w->underlays[o->slot]);
      break;
    case ORDER_END:
      w->end = true;
      break;
  }
}

static void take_orders(struct worker *w) {
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

static void look(struct worker *w, int timeout_ms) {
  struct epoll_event events[64];
  int n = epoll_wait(w->epoll, events, 64, timeout_ms);
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
  w->hot = calloc(WF_MAX_PORTS + MAX_UNDERLAYS, sizeof *w->hot);
  w->vnis = calloc(4 * WF_MAX_PORTS, sizeof *w->vnis);
  w->scratch = mmap(NULL, 3 * pool, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (w->ports == NULL || w->directions == NULL || w->hot == NULL || w->vnis == NULL || w->scratch == MAP_FAILED) return false;
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
  if (w->scratch != MAP_FAILED && w->scratch != NULL) munmap(w->scratch, (size_t)3 * BURST * BUFFER_BYTES);
  if (w->epoll >= 0) close(w->epoll);
  free(w->ports);
  free(w->directions);
  free(w->hot);
  free(w->vnis);
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
      else if (++p->idle >= (is_ring(p) ? MEMIF_PATIENCE : DESCRIPTOR_PATIENCE) && i < w->hot_count && w->hot[i] == p) cool_at(w, i);
      if (i < w->hot_count && w->hot[i] == p) i++;
    }
    w->head->passes = ++passes;
    empty = moved > 0 ? 0 : empty + 1;
    /* Whoever shares this core may be the one that we wait for: the sender, or the receiver that has to make room. */
    if (w->hot_count > 0 && (w->congested || empty % 16 == 15)) sched_yield();
    if (w->hot_count == 0) {
      w->head->sleeps++;
      look(w, -1);
      read_clock(w);
    } else if (passes % LOOK_EVERY == 0) {
      look(w, 0);
    }
  }
  give_back(w);
  close(orders);
  free(w);
  return good ? 0 : 1;
}
