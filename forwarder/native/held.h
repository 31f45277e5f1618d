/* SPDX-License-Identifier: Apache-2.0
 * What the keeper holds: the ports and cross-connects that are wanted, their descriptors, and the worker. Private to its files;
 * everything here is touched with the lock taken. */
#ifndef WEFT_HELD_H
#define WEFT_HELD_H

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include "link.h"
#include "order.h"
#include "worker.h"

#define RETRY_MS 25            /* between two attempts of a client to reach its server */

enum watched { WATCH_WAKE, WATCH_WORKER, WATCH_LISTENER, WATCH_PENDING, WATCH_LINK, WATCH_NEAR, WATCH_FAR };

/* A namespace that is held open: its path may have ended by the time it is needed again. */
struct place { int fd; uint64_t dev, ino; char path[32]; };

struct held_port {
  struct wf_port spec;
  bool used, up;
  uint32_t epoch, underlay, device, connect; /* connect, device: slot + 1 */
  struct place netns, peer_netns;
  int fd;         /* PACKET, TAP */
  int listener;
  int near, far;  /* PROXY */
  struct link link, pending;
  uint64_t pending_since_ms;
};
struct held_connect { struct wf_connect spec; bool used; };
struct held_underlay { struct wf_port spec; struct place netns; uint32_t users, device; int fd; };

struct held_device { struct wf_device spec; struct place netns; bool used; uint32_t users; };

struct wf {
  pthread_mutex_t lock;
  pthread_t keeper, worker_thread;
  uint32_t how;
  char program[256];
  bool ending, worker_runs, worker_joinable;
  int epoll, wake, events, board_fd, orders;
  pid_t worker;
  uint64_t worker_since_ms, worker_again_ms, retry_at_ms;
  uint8_t *board;
  struct wf_board_head *head;
  struct held_port *ports;
  struct held_connect *connects;
  struct held_underlay underlays[MAX_UNDERLAYS];
  struct held_device devices[WF_MAX_DEVICES];
  uint32_t port_top, connect_top, waiting, pendings;
};

static inline uint64_t now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static inline struct wf_board_port *board_port(wf *w, uint32_t slot) {
  return (struct wf_board_port *)(w->board + w->head->ports_at) + slot;
}

static inline void raise_event(int fd) {
  uint64_t one = 1;
  if (write(fd, &one, sizeof one) < 0) { /* it is readable already */ }
}
/* Tells those who wait for changes. */
static inline void signal_event(wf *w) { raise_event(w->events); }
/* Whoever waits to be accepted keeps its listener readable: without a descriptor to give, the keeper must not spin. */
static inline void pause_without_descriptors(void) {
  if (errno == EMFILE || errno == ENFILE) usleep(2000);
}
/* Makes the keeper's thread look at what has changed. */
static inline void wake(wf *w) { raise_event(w->wake); }

static inline void watch(wf *w, int fd, enum watched what, uint32_t slot) {
  struct epoll_event event = {.events = EPOLLIN, .data.u64 = (uint64_t)what << 32 | slot};
  epoll_ctl(w->epoll, EPOLL_CTL_ADD, fd, &event);
}

/* refusal.c: remembers the text for wf_error; the result is `error`. */
int refuse(int error, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* orders.c: what the worker is told. Lost when there is none: it is told everything when it starts. */
void order_port(wf *w, uint32_t slot);
void order_underlay(wf *w, uint32_t slot);
void order_plain(wf *w, uint32_t type, uint32_t slot);
void order_connect(wf *w, uint32_t slot);

void order_device(wf *w, uint32_t slot);

/* worker-life.c */
int start_worker(wf *w);
void bury_worker(wf *w);
void hear_worker(wf *w);

/* peers.c: the control channels of memif peers. */
void set_up(wf *w, uint32_t slot, bool up);
void drop_link(wf *w, uint32_t slot, const char *why);
void drop_pending(wf *w, struct held_port *p, const char *why);
void try_connect(wf *w, uint32_t slot);
void accept_link(wf *w, uint32_t slot);
void hear_pending(wf *w, uint32_t slot);
void hear_link(wf *w, uint32_t slot);

/* proxy.c */
void part_pair(wf *w, uint32_t slot);
void accept_pair(wf *w, uint32_t slot);
void relay(wf *w, uint32_t slot, int from, int to);

/* places.c */
int enter_place(struct place *place, const char *path);
void leave_place(struct place *place);
bool same_place(const struct place *a, const struct place *b);

/* held-devices.c: the slot of the device, or -ENOENT. */
int find_device(wf *w, const char *name);
/* The memory of wf_board_device of a slot. */
struct wf_board_device *board_device(wf *w, uint32_t slot);

/* held-ports.c */
void clear_port(wf *w, uint32_t slot);
bool text_ends(const char *text, size_t room);

#endif
