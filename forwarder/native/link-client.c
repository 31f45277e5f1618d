/* SPDX-License-Identifier: Apache-2.0
 * The control channel in the role of the client, which brings the memory. */
#define _GNU_SOURCE
#include "link.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "weft_fast.h"

int link_begin_client(struct link *l, int fd, uint32_t mode, uint32_t id, uint32_t log2_ring, uint32_t buffer_bytes) {
  link_forget(l);
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
int client_next(struct link *l) {
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
      return link_refuse(l, "the server acknowledges what was not said");
  }
  return link_say(l, &m, fd) < 0 ? link_refuse(l, "the server does not read") : 0;
}

int client_hears(struct link *l, const struct memif_message *m) {
  switch (m->type) {
    case MEMIF_HELLO:
      if (l->state != LINK_HELLO) return link_refuse(l, "two greetings");
      if (m->hello.min_version > MEMIF_VERSION_2_0 || m->hello.max_version < MEMIF_VERSION_2_0) return link_refuse(l, "memif version 2.0 is not spoken there");
      if (m->hello.max_log2_ring < l->log2_ring) return link_refuse(l, "the server takes smaller rings only");
      memcpy(l->peer, m->hello.name, 32);
      l->state = LINK_SETUP;
      return client_next(l);
    case MEMIF_ACK:
      if (l->state != LINK_SETUP) return link_refuse(l, "acknowledgement of nothing");
      return l->step >= 5 ? 0 : client_next(l);
    case MEMIF_CONNECTED:
      if (l->state != LINK_SETUP || l->step != 5) return link_refuse(l, "connected too early");
      l->state = LINK_UP;
      return 1;
    case MEMIF_DISCONNECT:
      snprintf(l->why, sizeof l->why, "the server says: %.70s", (const char *)m->disconnect.text);
      return -1;
    default:
      return link_refuse(l, "unknown message");
  }
}
