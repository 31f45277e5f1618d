/* SPDX-License-Identifier: Apache-2.0
 * The worker as seen by the keeper: started, told everything, buried, started again. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "held.h"

#define WORKER_LIVES_MS 200    /* a worker that dies earlier is started again after a pause */

struct thread_start { int orders; uint8_t *board; };

static void *worker_thread(void *argument) {
  struct thread_start start = *(struct thread_start *)argument;
  free(argument);
  worker_run(start.orders, start.board);
  return NULL;
}

int start_worker(wf *w) {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) return -errno;
  int bytes = 4 << 20;
  struct timeval limit = {2, 0};
  setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
  setsockopt(pair[0], SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  int error = 0;
  if (w->how == WF_THREADS) {
    struct thread_start *start = malloc(sizeof *start);
    if (start == NULL) error = -ENOMEM;
    else {
      *start = (struct thread_start){pair[1], w->board};
      sigset_t all, before;
      sigfillset(&all);
      sigdelset(&all, SIGBUS);
      pthread_sigmask(SIG_SETMASK, &all, &before);
      error = -pthread_create(&w->worker_thread, NULL, worker_thread, start);
      pthread_sigmask(SIG_SETMASK, &before, NULL);
      if (error == 0) w->worker_joinable = true;
      else free(start);
    }
    if (error) close(pair[1]);
  } else {
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    /* Descriptors 3 and 4 may be these very ones: by a detour. */
    posix_spawn_file_actions_adddup2(&actions, pair[1], 60);
    posix_spawn_file_actions_adddup2(&actions, w->board_fd, 61);
    posix_spawn_file_actions_adddup2(&actions, 60, 3);
    posix_spawn_file_actions_adddup2(&actions, 61, 4);
    posix_spawn_file_actions_addclose(&actions, 60);
    posix_spawn_file_actions_addclose(&actions, 61);
    char *arguments[] = {(char *)"weft-fast", (char *)"worker", NULL};
    error = -posix_spawn(&w->worker, w->program, &actions, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(pair[1]);
  }
  if (error) { close(pair[0]); return refuse(error, "start the worker %s", w->program); }
  /* A worker zeroes the counters of what is taken apart; the last one may not have come to it. */
  for (uint32_t i = 0; i < w->connect_top; i++) if (!w->connects[i].used) memset(w->board + w->head->directions_at + 256ull * i, 0, 256);
  w->orders = pair[0];
  w->worker_since_ms = now_ms();
  w->worker_runs = true;
  watch(w, w->orders, WATCH_WORKER, 0);
  for (uint32_t i = 0; i < WF_MAX_DEVICES; i++) if (w->devices[i].used) order_device(w, i);
  for (uint32_t i = 0; i < MAX_UNDERLAYS; i++) if (w->underlays[i].users > 0) order_underlay(w, i);
  for (uint32_t i = 0; i < w->port_top; i++) if (w->ports[i].used && w->ports[i].up) order_port(w, i);
  for (uint32_t i = 0; i < w->connect_top; i++) if (w->connects[i].used) order_connect(w, i);
  return 0;
}

void bury_worker(wf *w) {
  if (w->orders >= 0) close(w->orders);
  w->orders = -1;
  if (w->how == WF_THREADS) {
    if (w->worker_joinable) pthread_join(w->worker_thread, NULL);
    w->worker_joinable = false;
  } else if (w->worker > 0) {
    kill(w->worker, SIGKILL);
    while (waitpid(w->worker, NULL, 0) < 0 && errno == EINTR) {}
    w->worker = 0;
  }
  w->worker_runs = false;
}

static void worker_ended(wf *w) {
  bool short_lived = now_ms() - w->worker_since_ms < WORKER_LIVES_MS;
  bury_worker(w);
  if (w->ending) return;
  /* One death is mended at once; a row of them must not eat the machine. */
  if (short_lived && w->worker_again_ms + 10 * WORKER_LIVES_MS > now_ms()) w->worker_again_ms = now_ms() + WORKER_LIVES_MS;
  else { w->worker_again_ms = now_ms(); start_worker(w); }
  signal_event(w);
}

void hear_worker(wf *w) {
  struct complaint c;
  ssize_t n = recv(w->orders, &c, sizeof c, MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n != (ssize_t)sizeof c) { worker_ended(w); return; }
  if (c.slot >= COMPLAINT_DEVICE) { signal_event(w); return; }
  if (c.slot < w->port_top && w->ports[c.slot].used && w->ports[c.slot].up && w->ports[c.slot].epoch == c.epoch && w->ports[c.slot].spec.kind == WF_PORT_MEMIF) {
    c.why[sizeof c.why - 1] = 0;
    drop_link(w, c.slot, c.why);
  }
}
