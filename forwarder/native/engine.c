/* SPDX-License-Identifier: Apache-2.0
 * The keeper: what is wanted, every descriptor, the handshakes, and a worker that is given all of it again when it has died. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include "held.h"

#define ATTEMPTS_PER_TICK 64   /* so that a thousand clients do not stop the handshakes */
#define HANDSHAKE_MS 5000

uint32_t wf_abi(void) { return WF_ABI; }
uint32_t wf_features(void) {
  uint32_t bits = 4;
#ifdef __SANITIZE_ADDRESS__
  bits |= 2;
#endif
  return bits;
}

static void on_time(wf *w) {
  uint64_t now = now_ms();
  if (!w->worker_runs && now >= w->worker_again_ms && !w->ending) { w->worker_again_ms = now; start_worker(w); }
  if (w->waiting > 0 && now >= w->retry_at_ms) {
    uint32_t attempts = 0;
    for (uint32_t i = 0; i < w->port_top && attempts < ATTEMPTS_PER_TICK; i++) {
      struct held_port *p = &w->ports[i];
      if (!p->used || p->spec.kind != WF_PORT_MEMIF || p->spec.role != WF_CLIENT || p->link.fd >= 0) continue;
      attempts++;
      try_connect(w, i);
    }
    w->retry_at_ms = now_ms() + (attempts == ATTEMPTS_PER_TICK ? 1 : RETRY_MS);
  }
  for (uint32_t i = 0; w->pendings > 0 && i < w->port_top; i++) {
    struct held_port *p = &w->ports[i];
    if (p->used && p->pending.fd >= 0 && now - p->pending_since_ms > HANDSHAKE_MS) drop_pending(w, p, "the handshake took too long");
  }
}

static void *keeper_thread(void *argument) {
  wf *w = argument;
  for (;;) {
    pthread_mutex_lock(&w->lock);
    int timeout = w->waiting > 0 ? (int)(w->retry_at_ms > now_ms() ? w->retry_at_ms - now_ms() : 0) : !w->worker_runs ? 20 : w->pendings > 0 ? 1000 : -1;
    bool ending = w->ending;
    pthread_mutex_unlock(&w->lock);
    if (ending) return NULL;
    struct epoll_event events[64];
    int n = epoll_wait(w->epoll, events, 64, timeout);
    pthread_mutex_lock(&w->lock);
    for (int i = 0; i < n && !w->ending; i++) {
      uint32_t slot = (uint32_t)events[i].data.u64;
      switch ((enum watched)(events[i].data.u64 >> 32)) {
        case WATCH_WAKE: { uint64_t count; if (read(w->wake, &count, sizeof count) < 0) { /* none */ } break; }
        case WATCH_WORKER: if (w->orders >= 0) hear_worker(w); break;
        case WATCH_LISTENER:
          if (!w->ports[slot].used) break;
          if (w->ports[slot].spec.kind == WF_PORT_PROXY) accept_pair(w, slot);
          else accept_link(w, slot);
          break;
        case WATCH_NEAR: if (w->ports[slot].used) relay(w, slot, w->ports[slot].near, w->ports[slot].far); break;
        case WATCH_FAR: if (w->ports[slot].used) relay(w, slot, w->ports[slot].far, w->ports[slot].near); break;
        case WATCH_PENDING: if (w->ports[slot].used) hear_pending(w, slot); break;
        case WATCH_LINK: if (w->ports[slot].used) hear_link(w, slot); break;
      }
    }
    if (!w->ending) on_time(w);
    pthread_mutex_unlock(&w->lock);
  }
}

int wf_open(uint32_t how, const char *program, wf **out) {
  wf *w = calloc(1, sizeof *w);
  if (w == NULL) return refuse(-ENOMEM, "open the data plane");
  w->how = how;
  w->orders = w->epoll = w->wake = w->events = w->board_fd = -1;
  snprintf(w->program, sizeof w->program, "%s", program == NULL ? "" : program);
  pthread_mutex_init(&w->lock, NULL);
  w->ports = calloc(WF_MAX_PORTS, sizeof *w->ports);
  w->connects = calloc(WF_MAX_CONNECTS, sizeof *w->connects);
  w->board_fd = memfd_create("weft-board", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  w->epoll = epoll_create1(EPOLL_CLOEXEC);
  w->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  w->events = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  int error = 0;
  if (w->ports == NULL || w->connects == NULL || w->board_fd < 0 || w->epoll < 0 || w->wake < 0 || w->events < 0 || ftruncate(w->board_fd, (off_t)board_size()) < 0) error = -errno;
  w->board = error ? MAP_FAILED : mmap(NULL, board_size(), PROT_READ | PROT_WRITE, MAP_SHARED, w->board_fd, 0);
  if (w->board == MAP_FAILED) {
    wf_close(w);
    return refuse(error ? error : -ENOMEM, "make the board");
  }
  w->head = (struct wf_board_head *)w->board;
  *w->head = (struct wf_board_head){.magic = WF_BOARD_MAGIC, .abi = WF_ABI, .max_ports = WF_MAX_PORTS, .max_connects = WF_MAX_CONNECTS, .ports_at = 4096, .directions_at = 4096 + 64 * WF_MAX_PORTS, .devices_at = DEVICES_AT, .max_devices = WF_MAX_DEVICES};
  watch(w, w->wake, WATCH_WAKE, 0);
  install_bus_guard();
  error = start_worker(w);
  if (error == 0) {
    sigset_t all, before;
    sigfillset(&all);
    sigdelset(&all, SIGBUS);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = -pthread_create(&w->keeper, NULL, keeper_thread, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
  }
  if (error) {
    wf_close(w);
    return error;
  }
  *out = w;
  return 0;
}

void wf_close(wf *w) {
  if (w == NULL) return;
  pthread_mutex_lock(&w->lock);
  w->ending = true;
  pthread_mutex_unlock(&w->lock);
  if (w->keeper != 0) {
    wake(w);
    pthread_join(w->keeper, NULL);
  }
  if (w->orders >= 0) {
    order_plain(w, ORDER_END, 0);
    /* It ends by itself within a pass; bury_worker makes sure of it. */
  }
  bury_worker(w);
  for (uint32_t i = 0; w->ports != NULL && w->head != NULL && i < w->port_top; i++) clear_port(w, i);
  if (w->board != NULL && w->board != MAP_FAILED) munmap(w->board, board_size());
  int fds[] = {w->epoll, w->wake, w->events, w->board_fd};
  for (int i = 0; i < 4; i++) if (fds[i] >= 0) close(fds[i]);
  pthread_mutex_destroy(&w->lock);
  free(w->ports);
  free(w->connects);
  free(w);
}

int wf_list(wf *w, struct wf_entry *entries, uint32_t room) {
  int count = 0;
  pthread_mutex_lock(&w->lock);
  for (uint32_t i = 0; i < w->port_top + w->connect_top; i++) {
    bool port = i < w->port_top;
    uint32_t slot = port ? i : i - w->port_top;
    if (port ? !w->ports[slot].used : !w->connects[slot].used) continue;
    if ((uint32_t)count < room) {
      struct wf_entry *e = &entries[count];
      memset(e, 0, sizeof *e);
      e->kind = port ? w->ports[slot].spec.kind : 0;
      e->slot = slot;
      e->port_a = port ? 0 : w->connects[slot].spec.port_a;
      e->port_b = port ? 0 : w->connects[slot].spec.port_b;
      memcpy(e->name, port ? w->ports[slot].spec.name : w->connects[slot].spec.name, sizeof e->name);
    }
    count++;
  }
  pthread_mutex_unlock(&w->lock);
  return count;
}

void *wf_board(wf *w, uint64_t *size_bytes) {
  if (size_bytes != NULL) *size_bytes = board_size();
  return w->board;
}
int wf_board_fd(wf *w) { return w->board_fd; }
int wf_events_fd(wf *w) { return w->events; }
void wf_events_clear(wf *w) {
  uint64_t count;
  if (read(w->events, &count, sizeof count) < 0) { /* nothing has happened */ }
}

int wf_worker_restart(wf *w) {
  pthread_mutex_lock(&w->lock);
  if (w->how == WF_THREADS && w->orders >= 0) order_plain(w, ORDER_END, 0);
  bury_worker(w);
  int result = start_worker(w);
  pthread_mutex_unlock(&w->lock);
  return result;
}
