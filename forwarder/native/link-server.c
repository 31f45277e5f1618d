/* SPDX-License-Identifier: Apache-2.0
 * The control channel in the role of the server: everything that the client says is checked here. */
#define _GNU_SOURCE
#include "link.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "weft_fast.h"

/* A region is address space only until it is touched; this bounds what one peer can make us map. */
#define MAX_REGION_BYTES (1ull << 36)

int link_begin_server(struct link *l, int fd, uint32_t mode) {
  link_forget(l);
  l->fd = fd;
  l->role = WF_SERVER;
  l->mode = mode;
  l->state = LINK_HELLO;
  struct memif_message hello = {.type = MEMIF_HELLO};
  memcpy(hello.hello.name, "weft", 5);
  hello.hello.min_version = hello.hello.max_version = MEMIF_VERSION_2_0;
  hello.hello.max_region = MEMIF_MAX_REGIONS - 1;
  hello.hello.max_log2_ring = MEMIF_MAX_LOG2_RING;
  return link_say(l, &hello, -1) < 0 ? -EPIPE : 0;
}

static int take_region(struct link *l, const struct memif_message *m, int *fd) {
  struct stat found;
  uint64_t bytes = m->add_region.size;
  if (m->add_region.index != l->regions || l->regions == MEMIF_MAX_REGIONS) return link_refuse(l, "region out of turn");
  if (*fd < 0 || fstat(*fd, &found) < 0 || bytes == 0 || bytes > MAX_REGION_BYTES) return link_refuse(l, "region without memory");
  if ((uint64_t)found.st_size < bytes) return link_refuse(l, "region is smaller than announced");
  fcntl(*fd, F_ADD_SEALS, F_SEAL_SHRINK);
  int seals = fcntl(*fd, F_GET_SEALS);
  if (seals < 0 || !(seals & F_SEAL_SHRINK)) return link_refuse(l, "region can be made smaller: give a memfd that allows sealing");
  /* Somebody may have shrunk it before the seal. */
  if (fstat(*fd, &found) < 0 || (uint64_t)found.st_size < bytes) return link_refuse(l, "region is smaller than announced");
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
  if (m->add_ring.index != 0 || l->ring[which].present) return link_refuse(l, "more rings than offered");
  if (m->add_ring.log2_ring > MEMIF_MAX_LOG2_RING) return link_refuse(l, "ring too large");
  if (m->add_ring.region >= l->regions) return link_refuse(l, "ring in an unknown region");
  uint64_t bytes = memif_ring_bytes(m->add_ring.log2_ring), at = m->add_ring.offset;
  if (at % 16 != 0 || at + bytes > l->region[m->add_ring.region].bytes) return link_refuse(l, "ring outside of its region");
  if (*fd < 0 || !is_eventfd(*fd)) return link_refuse(l, "ring without an eventfd");
  int flags = fcntl(*fd, F_GETFL);
  if (flags < 0 || fcntl(*fd, F_SETFL, flags | O_NONBLOCK) < 0) return link_refuse(l, "ring without an eventfd");
  l->ring[which] = (struct link_ring){*fd, true, m->add_ring.region, (uint32_t)at, m->add_ring.log2_ring};
  *fd = -1;
  return 0;
}

int server_hears(struct link *l, const struct memif_message *m, int *fd) {
  struct memif_message answer = {.type = MEMIF_ACK};
  switch (m->type) {
    case MEMIF_ACK:
      return 0;
    case MEMIF_INIT:
      if (l->state != LINK_HELLO) return link_refuse(l, "two introductions");
      if (m->init.version != MEMIF_VERSION_2_0) return link_refuse(l, "memif version is not 2.0");
      if (m->init.mode != l->mode) return link_refuse(l, l->mode == WF_IP ? "this interface is in mode IP" : "this interface is in mode ETHERNET");
      l->id = m->init.id;
      memcpy(l->peer, m->init.name, 32);
      l->state = LINK_SETUP;
      break;
    case MEMIF_ADD_REGION:
      if (l->state != LINK_SETUP) return link_refuse(l, "region before introduction");
      if (take_region(l, m, fd) < 0) return -1;
      break;
    case MEMIF_ADD_RING:
      if (l->state != LINK_SETUP) return link_refuse(l, "ring before introduction");
      if (take_ring(l, m, fd) < 0) return -1;
      break;
    case MEMIF_CONNECT:
      if (l->state != LINK_SETUP || !l->ring[0].present || !l->ring[1].present) return link_refuse(l, "connect before one ring each way");
      l->state = LINK_UP;
      answer.type = MEMIF_CONNECTED;
      memcpy(answer.connect.name, "weft", 5);
      return link_say(l, &answer, -1) < 0 ? link_refuse(l, "the client does not read") : 1;
    case MEMIF_DISCONNECT:
      return link_refuse(l, "the client has left");
    default:
      return link_refuse(l, "unknown message");
  }
  return link_say(l, &answer, -1) < 0 ? link_refuse(l, "the client does not read") : 0;
}
