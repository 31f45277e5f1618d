/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "link.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "weft_fast.h"

/* A region is address space only until it is touched; this bounds what one peer can make us map. */
#define MAX_REGION_BYTES (1ull << 36)

struct netns_job { const char *path; int (*make)(void *); void *argument; int result; };

static void *netns_thread(void *argument) {
  struct netns_job *job = argument;
  int fd = open(job->path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) { job->result = -errno; return NULL; }
  job->result = setns(fd, CLONE_NEWNET) < 0 ? -errno : job->make(job->argument);
  close(fd);
  return NULL;
}

int in_netns(const char *netns, int (*make)(void *), void *argument) {
  if (netns == NULL || netns[0] == 0) return make(argument);
  struct netns_job job = {netns, make, argument, 0};
  pthread_t thread;
  int error = pthread_create(&thread, NULL, netns_thread, &job);
  if (error) return -error;
  pthread_join(thread, NULL);
  return job.result;
}

static int socket_address(const char *path, struct sockaddr_un *address, socklen_t *length) {
  size_t n = strlen(path);
  if (n == 0 || n >= sizeof address->sun_path) return -ENAMETOOLONG;
  memset(address, 0, sizeof *address);
  address->sun_family = AF_UNIX;
  memcpy(address->sun_path, path, n);
  *length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + 1);
  if (path[0] == '@') { address->sun_path[0] = 0; (*length)--; }
  return 0;
}

static int listen_here(void *argument) {
  const char *path = argument;
  struct sockaddr_un address;
  socklen_t length;
  int error = socket_address(path, &address, &length);
  if (error) return error;
  int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -errno;
  if (path[0] != '@') {
    struct stat found;
    if (lstat(path, &found) == 0 && S_ISSOCK(found.st_mode)) {
      /* Stale if nobody answers; a living one is somebody else's. */
      int probe = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
      int answer = probe < 0 ? -1 : connect(probe, (struct sockaddr *)&address, length);
      bool stale = answer < 0 && errno == ECONNREFUSED;
      if (probe >= 0) close(probe);
      if (stale) unlink(path);
    }
  }
  if (bind(fd, (struct sockaddr *)&address, length) < 0 || listen(fd, 64) < 0) {
    error = -errno;
    close(fd);
    return error;
  }
  return fd;
}

static int connect_here(void *argument) {
  struct sockaddr_un address;
  socklen_t length;
  int error = socket_address(argument, &address, &length);
  if (error) return error;
  int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -errno;
  if (connect(fd, (struct sockaddr *)&address, length) < 0) {
    error = -errno;
    close(fd);
    return error;
  }
  return fd;
}

int link_listen(const char *path, const char *netns) { return in_netns(netns, listen_here, (void *)path); }
int link_connect(const char *path, const char *netns) { return in_netns(netns, connect_here, (void *)path); }

static int say(struct link *l, struct memif_message *message, int fd) {
  struct iovec part = {message, sizeof *message};
  union { char bytes[CMSG_SPACE(sizeof(int))]; struct cmsghdr aligned; } control;
  struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
  if (fd >= 0) {
    memset(&control, 0, sizeof control);
    header.msg_control = control.bytes;
    header.msg_controllen = sizeof control.bytes;
    struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(rights), &fd, sizeof fd);
  }
  return sendmsg(l->fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)sizeof *message ? 0 : -1;
}

static int refuse(struct link *l, const char *why) {
  snprintf(l->why, sizeof l->why, "%s", why);
  return -1;
}

static void forget(struct link *l) {
  memset(l, 0, sizeof *l);
  l->fd = -1;
  for (int i = 0; i < MEMIF_MAX_REGIONS; i++) l->region[i].fd = -1;
  l->ring[0].fd = l->ring[1].fd = -1;
}

int link_begin_server(struct link *l, int fd, uint32_t mode) {
  forget(l);
  l->fd = fd;
  l->role = WF_SERVER;
  l->mode = mode;
  l->state = LINK_HELLO;
  struct memif_message hello = {.type = MEMIF_HELLO};
  memcpy(hello.hello.name, "weft", 5);
  hello.hello.min_version = hello.hello.max_version = MEMIF_VERSION_2_0;
  hello.hello.max_region = MEMIF_MAX_REGIONS - 1;
  hello.hello.max_log2_ring = MEMIF_MAX_LOG2_RING;
  return say(l, &hello, -1) < 0 ? -EPIPE : 0;
}

int link_begin_client(struct link *l, int fd, uint32_t mode, uint32_t id, uint32_t log2_ring, uint32_t buffer_bytes) {
  forget(l);
  l->fd = fd;
  l->role = WF_CLIENT;
  l->mode = mode;
  l->id = id;
  l->log2_ring = log2_ring;
  l->buffer_bytes = buffer_bytes;
  l->state = LINK_HELLO;
  uint64_t rings = 2 * memif_ring_bytes(log2_ring);
  uint64_t buffers_at = (rings + 4095) & ~4095ull;
  uint64_t bytes = buffers_at + 2ull * buffer_bytes * (1ull << log2_ring);
  if (bytes > UINT32_MAX) return -EINVAL;
  int memory = memfd_create("weft-memif", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (memory < 0) return -errno;
  l->regions = 1;
  l->region[0] = (struct link_region){memory, bytes};
  if (ftruncate(memory, (off_t)bytes) < 0 || fcntl(memory, F_ADD_SEALS, F_SEAL_SHRINK) < 0) return -errno;
  uint8_t *base = mmap(NULL, rings, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
  if (base == MAP_FAILED) return -errno;
  for (int i = 0; i < 2; i++) {
    l->ring[i] = (struct link_ring){eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), true, 0, (uint32_t)(i * memif_ring_bytes(log2_ring)), (uint8_t)log2_ring};
    struct memif_ring *ring = (struct memif_ring *)(base + l->ring[i].offset);
    /* Flags stay 0: interrupts on, until the consumer says otherwise. */
    ring->cookie = MEMIF_COOKIE;
    for (uint32_t slot = 0; slot < 1u << log2_ring; slot++) {
      ring->descriptors[slot].offset = (uint32_t)(buffers_at + (((uint64_t)i << log2_ring) + slot) * buffer_bytes);
      ring->descriptors[slot].length = buffer_bytes;
    }
  }
  munmap(base, rings);
  return l->ring[0].fd < 0 || l->ring[1].fd < 0 ? -EMFILE : 0;
}

/* The client's messages, one after each acknowledgement. */
static int client_next(struct link *l) {
  struct memif_message m = {0};
  int fd = -1;
  switch (l->step++) {
    case 0:
      m.type = MEMIF_INIT;
      m.init.version = MEMIF_VERSION_2_0;
      m.init.id = l->id;
      m.init.mode = (uint8_t)l->mode;
      memcpy(m.init.name, "weft", 5);
      break;
    case 1:
      m.type = MEMIF_ADD_REGION;
      m.add_region.size = l->region[0].bytes;
      fd = l->region[0].fd;
      break;
    case 2:
    case 3: {
      const struct link_ring *ring = &l->ring[l->step - 3];
      m.type = MEMIF_ADD_RING;
      m.add_ring.flags = l->step - 3 == RING_C2S ? MEMIF_RING_IS_C2S : 0;
      m.add_ring.offset = ring->offset;
      m.add_ring.log2_ring = ring->log2;
      fd = ring->fd;
      break;
    }
    case 4:
      m.type = MEMIF_CONNECT;
      memcpy(m.connect.name, "weft", 5);
      break;
    default:
      return refuse(l, "the server acknowledges what was not said");
  }
  return say(l, &m, fd) < 0 ? refuse(l, "the server does not read") : 0;
}

static int take_region(struct link *l, const struct memif_message *m, int *fd) {
  struct stat found;
  uint64_t bytes = m->add_region.size;
  if (m->add_region.index != l->regions || l->regions == MEMIF_MAX_REGIONS) return refuse(l, "region out of turn");
  if (*fd < 0 || fstat(*fd, &found) < 0 || bytes == 0 || bytes > MAX_REGION_BYTES) return refuse(l, "region without memory");
  if ((uint64_t)found.st_size < bytes) return refuse(l, "region is smaller than announced");
  fcntl(*fd, F_ADD_SEALS, F_SEAL_SHRINK);
  int seals = fcntl(*fd, F_GET_SEALS);
  if (seals < 0 || !(seals & F_SEAL_SHRINK)) return refuse(l, "region can be made smaller: give a memfd that allows sealing");
  /* Somebody may have shrunk it before the seal. */
  if (fstat(*fd, &found) < 0 || (uint64_t)found.st_size < bytes) return refuse(l, "region is smaller than announced");
  l->region[l->regions++] = (struct link_region){*fd, bytes};
  *fd = -1;
  return 0;
}

static bool is_eventfd(int fd) {
  char path[40], target[40];
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  ssize_t n = readlink(path, target, sizeof target - 1);
  if (n <= 0) return false;
  target[n] = 0;
  return strcmp(target, "anon_inode:[eventfd]") == 0;
}

static int take_ring(struct link *l, const struct memif_message *m, int *fd) {
  int which = m->add_ring.flags & MEMIF_RING_IS_C2S ? RING_C2S : RING_S2C;
  if (m->add_ring.index != 0 || l->ring[which].present) return refuse(l, "more rings than offered");
  if (m->add_ring.log2_ring > MEMIF_MAX_LOG2_RING) return refuse(l, "ring too large");
  if (m->add_ring.region >= l->regions) return refuse(l, "ring in an unknown region");
  uint64_t bytes = memif_ring_bytes(m->add_ring.log2_ring), at = m->add_ring.offset;
  if (at % 16 != 0 || at + bytes > l->region[m->add_ring.region].bytes) return refuse(l, "ring outside of its region");
  if (*fd < 0 || !is_eventfd(*fd)) return refuse(l, "ring without an eventfd");
  int flags = fcntl(*fd, F_GETFL);
  if (flags < 0 || fcntl(*fd, F_SETFL, flags | O_NONBLOCK) < 0) return refuse(l, "ring without an eventfd");
  l->ring[which] = (struct link_ring){*fd, true, m->add_ring.region, (uint32_t)at, m->add_ring.log2_ring};
  *fd = -1;
  return 0;
}

static int server_hears(struct link *l, const struct memif_message *m, int *fd) {
  struct memif_message answer = {.type = MEMIF_ACK};
  switch (m->type) {
    case MEMIF_ACK:
      return 0;
    case MEMIF_INIT:
      if (l->state != LINK_HELLO) return refuse(l, "two introductions");
      if (m->init.version != MEMIF_VERSION_2_0) return refuse(l, "memif version is not 2.0");
      if (m->init.mode != l->mode) return refuse(l, l->mode == WF_IP ? "this interface is in mode IP" : "this interface is in mode ETHERNET");
      l->id = m->init.id;
      memcpy(l->peer, m->init.name, 32);
      l->state = LINK_SETUP;
      break;
    case MEMIF_ADD_REGION:
      if (l->state != LINK_SETUP) return refuse(l, "region before introduction");
      if (take_region(l, m, fd) < 0) return -1;
      break;
    case MEMIF_ADD_RING:
      if (l->state != LINK_SETUP) return refuse(l, "ring before introduction");
      if (take_ring(l, m, fd) < 0) return -1;
      break;
    case MEMIF_CONNECT:
      if (l->state != LINK_SETUP || !l->ring[0].present || !l->ring[1].present) return refuse(l, "connect before one ring each way");
      l->state = LINK_UP;
      answer.type = MEMIF_CONNECTED;
      memcpy(answer.connect.name, "weft", 5);
      return say(l, &answer, -1) < 0 ? refuse(l, "the client does not read") : 1;
    case MEMIF_DISCONNECT:
      return refuse(l, "the client has left");
    default:
      return refuse(l, "unknown message");
  }
  return say(l, &answer, -1) < 0 ? refuse(l, "the client does not read") : 0;
}

static int client_hears(struct link *l, const struct memif_message *m) {
  switch (m->type) {
    case MEMIF_HELLO:
      if (l->state != LINK_HELLO) return refuse(l, "two greetings");
      if (m->hello.min_version > MEMIF_VERSION_2_0 || m->hello.max_version < MEMIF_VERSION_2_0) return refuse(l, "memif version 2.0 is not spoken there");
      if (m->hello.max_log2_ring < l->log2_ring) return refuse(l, "the server takes smaller rings only");
      memcpy(l->peer, m->hello.name, 32);
      l->state = LINK_SETUP;
      return client_next(l);
    case MEMIF_ACK:
      if (l->state != LINK_SETUP) return refuse(l, "acknowledgement of nothing");
      return l->step >= 5 ? 0 : client_next(l);
    case MEMIF_CONNECTED:
      if (l->state != LINK_SETUP || l->step != 5) return refuse(l, "connected too early");
      l->state = LINK_UP;
      return 1;
    case MEMIF_DISCONNECT:
      snprintf(l->why, sizeof l->why, "the server says: %.70s", (const char *)m->disconnect.text);
      return -1;
    default:
      return refuse(l, "unknown message");
  }
}

int link_readable(struct link *l) {
  for (int messages = 0; messages < 64; messages++) {
    struct memif_message m;
    struct iovec part = {&m, sizeof m};
    union { char bytes[CMSG_SPACE(sizeof(int) * 4)]; struct cmsghdr aligned; } control;
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    ssize_t n = recvmsg(l->fd, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
    int fd = -1;
    for (struct cmsghdr *c = n < 0 ? NULL : CMSG_FIRSTHDR(&header); c != NULL; c = CMSG_NXTHDR(&header, c)) {
      if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
      for (size_t i = 0; CMSG_LEN((i + 1) * sizeof(int)) <= c->cmsg_len; i++) {
        int got;
        memcpy(&got, CMSG_DATA(c) + i * sizeof got, sizeof got);
        if (fd < 0) fd = got;
        else close(got);
      }
    }
    int result;
    if (n <= 0) result = refuse(l, "the peer is gone");
    else if (n != (ssize_t)sizeof m) result = refuse(l, "a message has not 128 bytes");
    else if (l->state == LINK_UP && m.type != MEMIF_DISCONNECT) result = m.type == MEMIF_ACK ? 0 : refuse(l, "message after connect");
    else result = l->role == WF_SERVER ? server_hears(l, &m, &fd) : client_hears(l, &m);
    if (fd >= 0) close(fd);
    if (result != 0) return result;
  }
  return 0;
}

void link_close(struct link *l, const char *why) {
  if (l->fd >= 0) {
    struct memif_message m = {.type = MEMIF_DISCONNECT};
    if (why != NULL) {
      snprintf((char *)m.disconnect.text, sizeof m.disconnect.text, "%s", why);
      say(l, &m, -1);
    }
    shutdown(l->fd, SHUT_RDWR);
    close(l->fd);
  }
  for (int i = 0; i < MEMIF_MAX_REGIONS; i++) if (l->region[i].fd >= 0) close(l->region[i].fd);
  for (int i = 0; i < 2; i++) if (l->ring[i].fd >= 0) close(l->ring[i].fd);
  forget(l);
}
