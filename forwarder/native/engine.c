/* SPDX-License-Identifier: Apache-2.0
 * The keeper: what is wanted, every descriptor, the handshakes, and a worker that is given all of it again when it has died. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "link.h"
#include "order.h"
#include "ports.h"
#include "worker.h"

#define RETRY_MS 25            /* between two attempts of a client to reach its server */
#define ATTEMPTS_PER_TICK 64   /* so that a thousand clients do not stop the handshakes */
#define HANDSHAKE_MS 5000
#define WORKER_LIVES_MS 200    /* a worker that dies earlier is started again after a pause */

enum watched { WATCH_WAKE, WATCH_WORKER, WATCH_LISTENER, WATCH_PENDING, WATCH_LINK, WATCH_NEAR, WATCH_FAR };

/* A namespace that is held open: its path may have ended by the time it is needed again. */
struct place { int fd; uint64_t dev, ino; char path[32]; };

struct held_port {
  struct wf_port spec;
  bool used, up;
  uint32_t epoch, underlay, connect; /* slot + 1 */
  struct place netns, peer_netns;
  int fd;         /* PACKET, TAP */
  int listener;
  int near, far;  /* PROXY */
  struct link link, pending;
  uint64_t pending_since_ms;
};
struct held_connect { struct wf_connect spec; bool used; };
struct held_underlay { struct wf_port spec; struct place netns; uint32_t users; int fd; };

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
  uint32_t port_top, connect_top, waiting, pendings;
};

static __thread char error_text[256];

static int refuse(int error, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  int n = vsnprintf(error_text, sizeof error_text, format, arguments);
  va_end(arguments);
  if (n >= 0 && n < (int)sizeof error_text - 2) snprintf(error_text + n, sizeof error_text - (size_t)n, ": %s", strerror(-error));
  return error;
}

const char *wf_error(void) { return error_text; }
uint32_t wf_abi(void) { return WF_ABI; }
uint32_t wf_features(void) {
  uint32_t bits = 0;
#ifdef __SANITIZE_ADDRESS__
  bits |= 2;
#endif
  return bits;
}

static uint64_t now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static struct wf_board_port *board_port(wf *w, uint32_t slot) { return (struct wf_board_port *)(w->board + w->head->ports_at) + slot; }

static void signal_event(wf *w) {
  uint64_t one = 1;
  if (write(w->events, &one, sizeof one) < 0) { /* it is readable already */ }
}

static void watch(wf *w, int fd, enum watched what, uint32_t slot) {
  struct epoll_event event = {.events = EPOLLIN, .data.u64 = (uint64_t)what << 32 | slot};
  epoll_ctl(w->epoll, EPOLL_CTL_ADD, fd, &event);
}

/* ---- orders -------------------------------------------------------------------------------------------------------- */

static void order(wf *w, struct order *o, const int *fds, uint32_t count) {
  if (w->orders < 0) return; /* it is told everything when it starts */
  o->number = w->head->sent + 1;
  o->descriptors = count;
  struct iovec part = {o, sizeof *o};
  union { char bytes[CMSG_SPACE(sizeof(int) * MAX_ORDER_FDS)]; struct cmsghdr aligned; } control;
  struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
  if (count > 0) {
    memset(&control, 0, sizeof control);
    header.msg_control = control.bytes;
    header.msg_controllen = CMSG_SPACE(sizeof(int) * count);
    struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int) * count);
    memcpy(CMSG_DATA(rights), fds, sizeof(int) * count);
  }
  ssize_t n;
  do n = sendmsg(w->orders, &header, MSG_NOSIGNAL); while (n < 0 && errno == EINTR);
  /* A worker that takes no order within the socket's time limit is as good as dead; it will be told all again. */
  if (n != (ssize_t)sizeof *o) shutdown(w->orders, SHUT_RDWR);
  __atomic_store_n(&w->head->sent, o->number, __ATOMIC_RELEASE);
}

static void own_mac(const char *name, uint8_t mac[6]) {
  uint64_t hash = 14695981039346656037ull;
  for (; *name; name++) hash = (hash ^ (uint8_t)*name) * 1099511628211ull;
  for (int i = 1; i < 6; i++) mac[i] = (uint8_t)(hash >> (8 * i));
  mac[0] = 0x02;
}

static void order_port(wf *w, uint32_t slot) {
  struct held_port *p = &w->ports[slot];
  struct order o = {.type = ORDER_PORT_UP, .slot = slot};
  int fds[MAX_ORDER_FDS];
  uint32_t count = 0;
  o.port.kind = p->spec.kind;
  o.port.mode = p->spec.mode;
  o.port.role = p->spec.role;
  o.port.epoch = p->epoch;
  memcpy(o.port.mac, p->spec.mac, 6);
  own_mac(p->spec.name, o.port.own_mac);
  if (p->spec.kind == WF_PORT_MEMIF) {
    o.port.buffer_bytes = p->link.buffer_bytes;
    o.port.regions = p->link.regions;
    for (uint32_t i = 0; i < p->link.regions; i++) {
      o.port.region_bytes[i] = p->link.region[i].bytes;
      fds[count++] = p->link.region[i].fd;
    }
    for (int i = 0; i < 2; i++) {
      o.port.ring[i].region = p->link.ring[i].region;
      o.port.ring[i].log2 = p->link.ring[i].log2;
      o.port.ring[i].offset = p->link.ring[i].offset;
      fds[count++] = p->link.ring[i].fd;
    }
  } else if (p->spec.kind == WF_PORT_VXLAN) {
    o.port.underlay = p->underlay;
    o.port.vni = p->spec.vni;
    memcpy(o.port.remote, p->spec.remote, 16);
  } else if (p->fd >= 0) {
    fds[count++] = p->fd;
  }
  order(w, &o, fds, count);
}

static void order_underlay(wf *w, uint32_t slot) {
  struct held_underlay *u = &w->underlays[slot];
  struct order o = {.type = ORDER_UNDERLAY_UP, .slot = slot};
  o.underlay.kind = u->spec.underlay;
  o.underlay.family = u->spec.family;
  o.underlay.udp_port = u->spec.udp_port;
  memcpy(o.underlay.local, u->spec.local, 16);
  order(w, &o, &u->fd, u->fd >= 0 ? 1 : 0);
}

static void order_plain(wf *w, uint32_t type, uint32_t slot) {
  struct order o = {.type = type, .slot = slot};
  order(w, &o, NULL, 0);
}

static void order_connect(wf *w, uint32_t slot) {
  struct order o = {.type = ORDER_CONNECT, .slot = slot, .connect = w->connects[slot].spec};
  order(w, &o, NULL, 0);
}

/* ---- the worker ---------------------------------------------------------------------------------------------------- */

struct thread_start { int orders; uint8_t *board; };

static void *worker_thread(void *argument) {
  struct thread_start start = *(struct thread_start *)argument;
  free(argument);
  worker_run(start.orders, start.board);
  return NULL;
}

static int start_worker(wf *w) {
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
  for (uint32_t i = 0; i < MAX_UNDERLAYS; i++) if (w->underlays[i].users > 0) order_underlay(w, i);
  for (uint32_t i = 0; i < w->port_top; i++) if (w->ports[i].used && w->ports[i].up) order_port(w, i);
  for (uint32_t i = 0; i < w->connect_top; i++) if (w->connects[i].used) order_connect(w, i);
  return 0;
}

static void bury_worker(wf *w) {
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

/* ---- links --------------------------------------------------------------------------------------------------------- */

static void set_up(wf *w, uint32_t slot, bool up) {
  struct held_port *p = &w->ports[slot];
  if (p->up && !up) board_port(w, slot)->breaks++;
  p->up = up;
  __atomic_store_n(&board_port(w, slot)->link, up ? WF_LINK_UP : WF_LINK_DOWN, __ATOMIC_RELEASE);
  if (up) { p->epoch++; order_port(w, slot); }
  else order_plain(w, ORDER_PORT_DOWN, slot);
  signal_event(w);
}

static void drop_link(wf *w, uint32_t slot, const char *why) {
  struct held_port *p = &w->ports[slot];
  bool was_up = p->up;
  if (was_up) set_up(w, slot, false);
  link_close(&p->link, why);
  if (p->spec.role == WF_CLIENT) { w->waiting++; w->retry_at_ms = now_ms() + (was_up ? 0 : RETRY_MS); }
}

static void try_connect(wf *w, uint32_t slot) {
  struct held_port *p = &w->ports[slot];
  int fd = link_connect(p->spec.path, p->netns.path);
  if (fd < 0) return;
  uint32_t log2 = p->spec.log2_ring ? p->spec.log2_ring : 10, bytes = p->spec.buffer_bytes ? p->spec.buffer_bytes : 2048;
  w->waiting--;
  if (link_begin_client(&p->link, fd, p->spec.mode, p->spec.memif_id, log2, bytes) < 0) { drop_link(w, slot, "no memory"); return; }
  watch(w, fd, WATCH_LINK, slot);
}

static void drop_pending(wf *w, struct held_port *p, const char *why) {
  link_close(&p->pending, why);
  w->pendings--;
}

static void accept_link(wf *w, uint32_t slot) {
  struct held_port *p = &w->ports[slot];
  int fd = accept4(p->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd < 0) return;
  /* Whoever came before and has said nothing useful makes room. */
  if (p->pending.fd >= 0) drop_pending(w, p, "another client has come");
  w->pendings++;
  p->pending_since_ms = now_ms();
  if (link_begin_server(&p->pending, fd, p->spec.mode) < 0) { drop_pending(w, p, NULL); return; }
  if (p->up) { drop_pending(w, p, "this interface has a client"); return; }
  watch(w, fd, WATCH_PENDING, slot);
}

/* ---- proxy ---------------------------------------------------------------------------------------------------------- */

static void part_pair(wf *w, uint32_t slot) {
  struct held_port *p = &w->ports[slot];
  if (p->near >= 0) { shutdown(p->near, SHUT_RDWR); close(p->near); }
  if (p->far >= 0) { shutdown(p->far, SHUT_RDWR); close(p->far); }
  p->near = p->far = -1;
  if (board_port(w, slot)->link == WF_LINK_UP) board_port(w, slot)->breaks++;
  __atomic_store_n(&board_port(w, slot)->link, WF_LINK_DOWN, __ATOMIC_RELEASE);
  signal_event(w);
}

static void accept_pair(wf *w, uint32_t slot) {
  struct held_port *p = &w->ports[slot];
  int near = accept4(p->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (near < 0) return;
  int far = p->near >= 0 ? -1 : link_connect(p->spec.peer_path, p->peer_netns.path);
  if (far < 0) { close(near); return; } /* taken, or the server is not there yet: the client comes again */
  p->near = near;
  p->far = far;
  watch(w, near, WATCH_NEAR, slot);
  watch(w, far, WATCH_FAR, slot);
}

/* Hands one message on, with its descriptor. */
static void relay(wf *w, uint32_t slot, int from, int to) {
  if (from < 0 || to < 0) return;
  struct memif_message m;
  struct iovec part = {&m, sizeof m};
  union { char bytes[CMSG_SPACE(sizeof(int) * 4)]; struct cmsghdr aligned; } control;
  struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
  ssize_t n = recvmsg(from, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  bool good = n == (ssize_t)sizeof m && !(header.msg_flags & (MSG_TRUNC | MSG_CTRUNC));
  if (good) {
    header.msg_flags = 0;
    if (header.msg_controllen == 0) header.msg_control = NULL;
    good = sendmsg(to, &header, MSG_DONTWAIT | MSG_NOSIGNAL) == n;
  }
  for (struct cmsghdr *c = n < 0 ? NULL : CMSG_FIRSTHDR(&header); c != NULL; c = CMSG_NXTHDR(&header, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    for (size_t i = 0; CMSG_LEN((i + 1) * sizeof(int)) <= c->cmsg_len; i++) {
      int fd;
      memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
      close(fd);
    }
  }
  if (!good) { part_pair(w, slot); return; }
  if (m.type == MEMIF_CONNECTED) {
    board_port(w, slot)->epoch++;
    __atomic_store_n(&board_port(w, slot)->link, WF_LINK_UP, __ATOMIC_RELEASE);
    signal_event(w);
  }
}

static void hear_pending(wf *w, uint32_t slot) {
  struct held_port *p = &w->ports[slot];
  if (p->pending.fd < 0) return;
  int result = link_readable(&p->pending);
  if (result < 0) { drop_pending(w, p, p->pending.why); return; }
  if (result == 0) return;
  struct epoll_event event = {.events = EPOLLIN, .data.u64 = (uint64_t)WATCH_LINK << 32 | slot};
  epoll_ctl(w->epoll, EPOLL_CTL_MOD, p->pending.fd, &event);
  p->link = p->pending;
  memset(&p->pending, 0, sizeof p->pending);
  p->pending.fd = -1;
  for (int i = 0; i < MEMIF_MAX_REGIONS; i++) p->pending.region[i].fd = -1;
  p->pending.ring[0].fd = p->pending.ring[1].fd = -1;
  w->pendings--;
  set_up(w, slot, true);
}

static void hear_link(wf *w, uint32_t slot) {
  struct held_port *p = &w->ports[slot];
  if (p->link.fd < 0) return;
  int result = link_readable(&p->link);
  if (result > 0) set_up(w, slot, true);
  if (result < 0) {
    char why[96];
    memcpy(why, p->link.why, sizeof why);
    drop_link(w, slot, why);
  }
}

static void hear_worker(wf *w) {
  struct complaint c;
  ssize_t n = recv(w->orders, &c, sizeof c, MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n != (ssize_t)sizeof c) { worker_ended(w); return; }
  if (c.slot < w->port_top && w->ports[c.slot].used && w->ports[c.slot].up && w->ports[c.slot].epoch == c.epoch && w->ports[c.slot].spec.kind == WF_PORT_MEMIF) {
    c.why[sizeof c.why - 1] = 0;
    drop_link(w, c.slot, c.why);
  }
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

static void wake(wf *w) {
  uint64_t one = 1;
  if (write(w->wake, &one, sizeof one) < 0) { /* it is awake */ }
}

/* ---- calls --------------------------------------------------------------------------------------------------------- */

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
  *w->head = (struct wf_board_head){.magic = WF_BOARD_MAGIC, .abi = WF_ABI, .max_ports = WF_MAX_PORTS, .max_connects = WF_MAX_CONNECTS, .ports_at = 4096, .directions_at = 4096 + 64 * WF_MAX_PORTS};
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

static int enter_place(struct place *place, const char *path) {
  *place = (struct place){.fd = -1};
  if (path[0] == 0) return 0;
  struct stat found;
  place->fd = open(path, O_RDONLY | O_CLOEXEC);
  if (place->fd < 0 || fstat(place->fd, &found) < 0) return -errno;
  place->dev = found.st_dev;
  place->ino = found.st_ino;
  struct stat own;
  if (stat("/proc/thread-self/ns/net", &own) == 0 && own.st_dev == found.st_dev && own.st_ino == found.st_ino) {
    /* Our own: entering it would need a right that an ordinary user has not. */
    close(place->fd);
    place->fd = -1;
    return 0;
  }
  snprintf(place->path, sizeof place->path, "/proc/self/fd/%d", place->fd);
  return 0;
}

static void leave_place(struct place *place) {
  if (place->fd >= 0) close(place->fd);
  place->fd = -1;
}

static bool same_place(const struct place *a, const struct place *b) { return a->dev == b->dev && a->ino == b->ino; }

static void clear_port(wf *w, uint32_t slot) {
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
      if (u->fd >= 0) close(u->fd);
      u->fd = -1;
      leave_place(&u->netns);
    }
  }
  p->used = p->up = false;
  board_port(w, slot)->link = WF_LINK_NONE;
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

static bool ends(const char *text, size_t room) { return memchr(text, 0, room) != NULL; }

static int check_port(const struct wf_port *port) {
  if (!ends(port->name, sizeof port->name) || !ends(port->netns, sizeof port->netns) || !ends(port->path, sizeof port->path) ||
      !ends(port->peer_path, sizeof port->peer_path) || !ends(port->peer_netns, sizeof port->peer_netns) || port->name[0] == 0)
    return refuse(-EINVAL, "port without a name, or text without an end");
  if (port->kind < WF_PORT_MEMIF || port->kind > WF_PORT_PROXY || port->mode > WF_IP || port->role > WF_CLIENT) return refuse(-EINVAL, "port %s: kind %u, mode %u, role %u", port->name, port->kind, port->mode, port->role);
  if (port->log2_ring > MEMIF_MAX_LOG2_RING || port->buffer_bytes > 65536 || port->buffer_bytes % 64 != 0) return refuse(-EINVAL, "port %s: ring of 2^%u buffers of %u bytes", port->name, port->log2_ring, port->buffer_bytes);
  if (port->kind == WF_PORT_VXLAN && ((port->family != 4 && port->family != 6) || port->vni == 0 || port->vni >= 1u << 24 || port->udp_port == 0 || port->mode != WF_ETHERNET)) return refuse(-EINVAL, "port %s: vni %u, UDP port %u", port->name, port->vni, port->udp_port);
  if (port->kind != WF_PORT_VXLAN && port->kind != WF_PORT_ECHO && port->path[0] == 0) return refuse(-EINVAL, "port %s: no socket or interface", port->name);
  return 0;
}

static int take_underlay(wf *w, const struct wf_port *port, const struct place *netns) {
  int free = -1;
  for (int i = 0; i < MAX_UNDERLAYS; i++) {
    const struct held_underlay *u = &w->underlays[i];
    if (u->users == 0) { if (free < 0) free = i; continue; }
    if (u->spec.family == port->family && u->spec.udp_port == port->udp_port && u->spec.underlay == port->underlay && memcmp(u->spec.local, port->local, 16) == 0 && same_place(&u->netns, netns)) return i;
  }
  if (free < 0) return refuse(-ENOSPC, "port %s: more than %d tunnel addresses", port->name, MAX_UNDERLAYS);
  int fd = -1;
  if (port->underlay == WF_UNDERLAY_UDP) {
    fd = open_underlay(port);
    if (fd < 0) return refuse(fd, "port %s: bind UDP port %u of the tunnel address", port->name, port->udp_port);
  }
  w->underlays[free].spec = *port;
  w->underlays[free].fd = fd;
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

static int set_connect(wf *w, const struct wf_connect *c) {
  uint32_t slot = WF_MAX_CONNECTS, free = WF_MAX_CONNECTS;
  for (uint32_t i = 0; i < w->connect_top; i++) {
    if (!w->connects[i].used) { if (free == WF_MAX_CONNECTS) free = i; }
    else if (strcmp(w->connects[i].spec.name, c->name) == 0) slot = i;
  }
  const uint32_t ports[2] = {c->port_a, c->port_b};
  for (int i = 0; i < 2; i++) {
    if (ports[i] >= w->port_top || !w->ports[ports[i]].used || w->ports[ports[i]].spec.kind == WF_PORT_PROXY) return refuse(-ENOENT, "connect %s: port %u", c->name, ports[i]);
    uint32_t other = w->ports[ports[i]].connect;
    if (other != 0 && other != slot + 1) return refuse(-EBUSY, "connect %s: port %s is joined", c->name, w->ports[ports[i]].spec.name);
  }
  if (slot == WF_MAX_CONNECTS) {
    slot = free != WF_MAX_CONNECTS ? free : w->connect_top;
    if (slot >= WF_MAX_CONNECTS) return refuse(-ENOSPC, "connect %s: there are %u", c->name, WF_MAX_CONNECTS);
    if (slot == w->connect_top) w->connect_top++;
  } else {
    struct wf_connect *before = &w->connects[slot].spec;
    w->ports[before->port_a].connect = w->ports[before->port_b].connect = 0;
  }
  w->connects[slot].spec = *c;
  w->connects[slot].used = true;
  w->ports[c->port_a].connect = w->ports[c->port_b].connect = slot + 1;
  order_connect(w, slot);
  return (int)slot;
}

int wf_connect_set(wf *w, const struct wf_connect *c) {
  if (!ends(c->name, sizeof c->name) || c->name[0] == 0 || c->port_a == c->port_b || (c->dscp > 63 && c->dscp != 255)) return refuse(-EINVAL, "connect: a name, two ports, and a DSCP of 0…63 or 255");
  pthread_mutex_lock(&w->lock);
  int result = set_connect(w, c);
  pthread_mutex_unlock(&w->lock);
  return result;
}

int wf_connect_del(wf *w, uint32_t slot) {
  pthread_mutex_lock(&w->lock);
  int result = slot < w->connect_top && w->connects[slot].used ? 0 : refuse(-ENOENT, "connect %u", slot);
  if (result == 0) {
    const struct wf_connect *c = &w->connects[slot].spec;
    w->ports[c->port_a].connect = w->ports[c->port_b].connect = 0;
    w->connects[slot].used = false;
    order_plain(w, ORDER_DISCONNECT, slot);
  }
  pthread_mutex_unlock(&w->lock);
  return result;
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
