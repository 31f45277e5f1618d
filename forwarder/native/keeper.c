/* SPDX-License-Identifier: Apache-2.0
 * The keeper as a program: wf_* calls by messages over a unix stream socket.
 *
 *   request   u32 bytes that follow, u32 operation, u32 tag, payload (the structure of the call, or a u32 slot)
 *   answer    u32 bytes that follow, u32 operation, u32 tag, i32 result, payload (text of the failure, or what was asked for)
 *   event     as an answer with operation EVENT: a link has changed, or there is a new worker
 *
 * It ends with its socket's folder, when told, or when it holds no port and nobody talks to it. */
#define _GNU_SOURCE
#include "keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "weft_fast.h"

#define MAX_CLIENTS 16
#define MAX_REQUEST 4096

enum { HELLO = 1, PORT_ADD, PORT_DEL, CONNECT_SET, CONNECT_DEL, LIST, WORKER_RESTART, END, EVENT, DEVICE_ADD, DEVICE_DEL };

struct client { int fd; uint32_t have; uint8_t bytes[MAX_REQUEST]; };

static bool write_all(int fd, const void *bytes, size_t n) {
  const uint8_t *at = bytes;
  while (n > 0) {
    ssize_t sent = send(fd, at, n, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return false;
    at += sent;
    n -= (size_t)sent;
  }
  return true;
}

static bool answer(int fd, uint32_t operation, uint32_t tag, int32_t result, const void *payload, size_t n) {
  uint32_t head[4] = {(uint32_t)(12 + n), operation, tag, (uint32_t)result};
  return write_all(fd, head, sizeof head) && (n == 0 || write_all(fd, payload, n));
}

static bool answer_plain(int fd, uint32_t operation, uint32_t tag, int32_t result) {
  return answer(fd, operation, tag, result, result < 0 ? wf_error() : "", result < 0 ? strlen(wf_error()) : 0);
}

static bool list(wf *w, int fd, uint32_t tag) {
  uint32_t room = WF_MAX_PORTS + WF_MAX_CONNECTS;
  struct wf_entry *entries = malloc(room * sizeof *entries);
  if (entries == NULL) return answer(fd, LIST, tag, -ENOMEM, NULL, 0);
  int n = wf_list(w, entries, room);
  bool good = answer(fd, LIST, tag, n, entries, (size_t)n * sizeof *entries);
  free(entries);
  return good;
}

/* False: the client is to be dropped. */
static bool serve(wf *w, int fd, uint32_t operation, uint32_t tag, const uint8_t *payload, size_t n, bool *end) {
  union { struct wf_port port; struct wf_connect connect; struct wf_device device; uint32_t slot; } in;
  memset(&in, 0, sizeof in);
  memcpy(&in, payload, n < sizeof in ? n : sizeof in);
  switch (operation) {
    case HELLO: {
      uint32_t facts[4] = {wf_abi(), (uint32_t)getpid(), (uint32_t)wf_board_fd(w), wf_features()};
      return answer(fd, HELLO, tag, 0, facts, sizeof facts);
    }
    case PORT_ADD: return n == sizeof in.port && answer_plain(fd, operation, tag, wf_port_add(w, &in.port));
    case PORT_DEL: return n == 4 && answer_plain(fd, operation, tag, wf_port_del(w, in.slot));
    case CONNECT_SET: return n == sizeof in.connect && answer_plain(fd, operation, tag, wf_connect_set(w, &in.connect));
    case CONNECT_DEL: return n == 4 && answer_plain(fd, operation, tag, wf_connect_del(w, in.slot));
    case DEVICE_ADD: return n == sizeof in.device && answer_plain(fd, operation, tag, wf_device_add(w, &in.device));
    case DEVICE_DEL: return n == 4 && answer_plain(fd, operation, tag, wf_device_del(w, in.slot));
    case LIST: return list(w, fd, tag);
    case WORKER_RESTART: return answer_plain(fd, operation, tag, wf_worker_restart(w));
    case END:
      *end = true;
      return answer(fd, END, tag, 0, NULL, 0);
    default: return false;
  }
}

static bool hear(wf *w, struct client *c, bool *end) {
  ssize_t n = recv(c->fd, c->bytes + c->have, sizeof c->bytes - c->have, MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return true;
  if (n <= 0) return false;
  c->have += (uint32_t)n;
  while (c->have >= 12) {
    uint32_t head[3];
    memcpy(head, c->bytes, sizeof head);
    if (head[0] < 8 || head[0] > MAX_REQUEST - 4) return false;
    if (c->have < 4 + head[0]) return true;
    if (!serve(w, c->fd, head[1], head[2], c->bytes + 12, head[0] - 8, end)) return false;
    c->have -= 4 + head[0];
    memmove(c->bytes, c->bytes + 4 + head[0], c->have);
  }
  return true;
}

static int listen_at(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(path) >= sizeof address.sun_path) return -ENAMETOOLONG;
  strcpy(address.sun_path, path);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -errno;
  unlink(path); /* the lock says that nobody listens there */
  umask(077);
  if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 8) < 0) {
    int error = -errno;
    close(fd);
    return error;
  }
  return fd;
}

static int told;
static void on_signal(int number) { told = number; }

static bool holds_nothing(wf *w) {
  struct wf_entry one;
  return wf_list(w, &one, 1) == 0;
}

static void loop(wf *w, int listener, bool ephemeral) {
  struct client clients[MAX_CLIENTS];
  uint32_t count = 0;
  bool end = false, talked = false;
  while (!end && told == 0) {
    struct pollfd fds[MAX_CLIENTS + 2] = {{listener, POLLIN, 0}, {wf_events_fd(w), POLLIN, 0}};
    for (uint32_t i = 0; i < count; i++) fds[i + 2] = (struct pollfd){clients[i].fd, POLLIN, 0};
    /* A keeper that nobody has asked for anything within a while was started for nothing. */
    int n = poll(fds, count + 2, talked ? -1 : 10000);
    if (n == 0 && !talked) return;
    if (n < 0) continue;
    uint32_t there = count;
    for (uint32_t i = there; i-- > 0;) {
      if (!fds[i + 2].revents || hear(w, &clients[i], &end)) continue;
      close(clients[i].fd);
      clients[i] = clients[--count];
    }
    if (fds[1].revents) {
      uint64_t times;
      if (read(fds[1].fd, &times, sizeof times) < 0) { /* none */ }
      for (uint32_t i = 0; i < count; i++) answer(clients[i].fd, EVENT, 0, 0, NULL, 0);
    }
    if (fds[0].revents && count < MAX_CLIENTS) {
      int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
      if (fd >= 0) { clients[count].have = 0; clients[count++].fd = fd; talked = true; }
    }
    if (talked && count == 0 && (ephemeral || holds_nothing(w))) return;
  }
}

int keeper_main(const char *path, bool ephemeral, const char *program) {
  char lock_path[200];
  snprintf(lock_path, sizeof lock_path, "%s.lock", path);
  int lock = open(lock_path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
  if (lock < 0 || flock(lock, LOCK_EX | LOCK_NB) < 0) {
    fprintf(stderr, "weft-fast: another keeper serves %s, or its folder cannot be written: %s\n", path, strerror(errno));
    return 1;
  }
  struct sigaction action = {.sa_handler = on_signal};
  sigaction(SIGTERM, &action, NULL);
  sigaction(SIGINT, &action, NULL);
  signal(SIGHUP, SIG_IGN);
  signal(SIGPIPE, SIG_IGN);
  wf *w;
  if (wf_open(WF_PROCESS, program, &w) < 0) {
    fprintf(stderr, "weft-fast: %s\n", wf_error());
    return 1;
  }
  int listener = listen_at(path);
  if (listener < 0) {
    fprintf(stderr, "weft-fast: listen on %s: %s\n", path, strerror(-listener));
    wf_close(w);
    return 1;
  }
  /* Whoever started us waits for this line. */
  printf("ready\n");
  fflush(stdout);
  loop(w, listener, ephemeral);
  unlink(path);
  unlink(lock_path);
  close(listener);
  wf_close(w);
  return 0;
}
