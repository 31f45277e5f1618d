/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "weft_memif.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "link.h"

#define RETRY_MS 20
#define MAX_WAITED 8

struct side { struct memif_ring *ring; uint16_t index, first; uint32_t size; uint64_t buffers; int fd; };

struct wm {
  struct link link;
  uint32_t role, mode, log2_ring, buffer_bytes;
  int listener;
  bool up;
  char path[128], netns[256], why[96];
  struct side in, out;
  uint32_t regions;
  struct { uint8_t *base; uint64_t bytes; } region[MEMIF_MAX_REGIONS];
};

static void unmap(struct wm *m) {
  for (uint32_t i = 0; i < m->regions; i++) munmap(m->region[i].base, m->region[i].bytes);
  m->regions = 0;
  m->up = false;
}

static void end_link(struct wm *m, const char *why) {
  char text[96];
  snprintf(text, sizeof text, "%s", why == NULL ? "" : why);
  memcpy(m->why, text, sizeof text);
  unmap(m);
  link_close(&m->link, text);
}

static bool bind_side(struct wm *m, struct side *s, int which) {
  const struct link_ring *r = &m->link.ring[which];
  s->ring = (struct memif_ring *)(m->region[r->region].base + r->offset);
  s->size = 1u << r->log2;
  s->index = s->first = 0;
  s->fd = r->fd;
  return s->ring->cookie == MEMIF_COOKIE;
}

static void offer(struct wm *m, uint16_t from) {
  struct side *s = &m->in;
  for (uint16_t i = from; i != s->index; i++) {
    uint32_t slot = i & (s->size - 1);
    s->ring->descriptors[slot] = (struct memif_descriptor){.length = m->buffer_bytes, .offset = (uint32_t)(s->buffers + (uint64_t)slot * m->buffer_bytes)};
  }
  __atomic_store_n(&s->ring->head, (uint16_t)(s->index + s->size), __ATOMIC_RELEASE);
}

static void come_up(struct wm *m) {
  for (uint32_t i = 0; i < m->link.regions; i++) {
    void *base = mmap(NULL, m->link.region[i].bytes, PROT_READ | PROT_WRITE, MAP_SHARED, m->link.region[i].fd, 0);
    if (base == MAP_FAILED) { end_link(m, "memory cannot be mapped"); return; }
    m->region[m->regions].base = base;
    m->region[m->regions++].bytes = m->link.region[i].bytes;
  }
  int in = m->role == WM_SERVER ? RING_C2S : RING_S2C;
  if (!bind_side(m, &m->in, in) || !bind_side(m, &m->out, 1 - in)) { end_link(m, "no ring in the memory"); return; }
  if (m->role == WM_CLIENT) {
    uint64_t at = (2 * memif_ring_bytes(m->log2_ring) + 4095) & ~4095ull;
    m->out.buffers = at;
    m->in.buffers = at + (uint64_t)m->out.size * m->buffer_bytes;
    offer(m, (uint16_t)(0 - m->in.size));
  }
  m->up = true;
}

void wm_tick(struct wm *m) {
  if (m->link.fd < 0) {
    int fd = m->role == WM_SERVER ? accept4(m->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK) : link_connect(m->path, m->netns);
    if (fd < 0) return;
    int error = m->role == WM_SERVER ? link_begin_server(&m->link, fd, m->mode) : link_begin_client(&m->link, fd, m->mode, 0, m->log2_ring, m->buffer_bytes);
    if (error < 0) end_link(m, strerror(-error));
    return;
  }
  int result = link_readable(&m->link);
  if (result > 0) come_up(m);
  if (result < 0) {
    char why[96];
    memcpy(why, m->link.why, sizeof why);
    end_link(m, why);
  }
}

int wm_open(const struct wm_options *options, struct wm **out) {
  struct wm *m = calloc(1, sizeof *m);
  if (m == NULL) return -ENOMEM;
  m->role = options->role;
  m->mode = options->mode;
  m->log2_ring = options->log2_ring ? options->log2_ring : 10;
  m->buffer_bytes = options->buffer_bytes ? options->buffer_bytes : 2048;
  snprintf(m->path, sizeof m->path, "%s", options->path);
  snprintf(m->netns, sizeof m->netns, "%s", options->netns ? options->netns : "");
  m->listener = -1;
  m->link.fd = -1;
  for (int i = 0; i < MEMIF_MAX_REGIONS; i++) m->link.region[i].fd = -1;
  m->link.ring[0].fd = m->link.ring[1].fd = -1;
  if (m->role == WM_SERVER && (m->listener = link_listen(m->path, m->netns)) < 0) {
    int error = m->listener;
    free(m);
    return error;
  }
  *out = m;
  wm_tick(m);
  return 0;
}

void wm_close(struct wm *m) {
  if (m == NULL) return;
  end_link(m, "the program ends");
  if (m->listener >= 0) {
    close(m->listener);
    if (m->path[0] != '@') unlink(m->path);
  }
  free(m);
}

int wm_is_up(const struct wm *m) { return m->up; }
const char *wm_why(const struct wm *m) { return m->why; }

uint32_t wm_unsent(const struct wm *m) {
  if (!m->up) return 0;
  const struct side *s = &m->out;
  if (m->role == WM_CLIENT) return (uint16_t)(s->index - __atomic_load_n(&s->ring->tail, __ATOMIC_ACQUIRE));
  return (uint16_t)(s->size - (uint16_t)(__atomic_load_n(&s->ring->head, __ATOMIC_ACQUIRE) - s->index));
}

static uint16_t waiting(struct wm *m) {
  uint16_t n = (uint16_t)(__atomic_load_n(m->role == WM_SERVER ? &m->in.ring->head : &m->in.ring->tail, __ATOMIC_ACQUIRE) - m->in.index);
  if (n <= m->in.size) return n;
  end_link(m, "ring index out of range");
  return 0;
}

static bool dialling(const struct wm *m) { return m->role == WM_CLIENT && m->link.fd < 0; }

/* Asks for an interrupt and says what to sleep on; true: there is something to receive already. */
static bool arm(struct wm *m, struct pollfd fds[2]) {
  fds[0] = (struct pollfd){m->link.fd >= 0 ? m->link.fd : m->listener, POLLIN, 0};
  fds[1] = (struct pollfd){-1, POLLIN, 0};
  if (!m->up) return false;
  __atomic_fetch_and(&m->in.ring->flags, (uint16_t)~MEMIF_MASK_INTERRUPT, __ATOMIC_SEQ_CST);
  if (waiting(m) > 0) return true;
  if (m->up) fds[1].fd = m->in.fd;
  return false;
}

/* After the sleep; true: there is something to receive. */
static bool woken(struct wm *m, const struct pollfd fds[2]) {
  if (m->up && (fds[1].revents & POLLIN)) {
    uint64_t count;
    if (read(m->in.fd, &count, sizeof count) < 0) { /* somebody was quicker */ }
  }
  if (fds[0].revents || dialling(m)) wm_tick(m);
  return m->up && waiting(m) > 0;
}

int wm_wait_any(struct wm *const *all, uint32_t count, int timeout_ms) {
  struct pollfd fds[2 * MAX_WAITED];
  if (count > MAX_WAITED) return -EINVAL;
  bool ready = false, retry = false, ended = false;
  for (uint32_t i = 0; i < count; i++) {
    bool was_up = all[i]->up;
    ready |= arm(all[i], fds + 2 * i);
    retry |= dialling(all[i]);
    ended |= was_up && !all[i]->up;
  }
  if (ready) return 1;
  if (ended) return 0;
  int n = poll(fds, 2 * count, retry && (timeout_ms < 0 || timeout_ms > RETRY_MS) ? RETRY_MS : timeout_ms);
  if (n < 0 && errno != EINTR) return -errno;
  if (n < 0) for (uint32_t i = 0; i < 2 * count; i++) fds[i].revents = 0;
  for (uint32_t i = 0; i < count; i++) ready |= woken(all[i], fds + 2 * i);
  return ready;
}

int wm_wait(struct wm *m, int timeout_ms) { return wm_wait_any(&m, 1, timeout_ms); }

uint32_t wm_receive(struct wm *m, struct wm_packet *packets, uint32_t room) {
  if (!m->up) return 0;
  /* Whoever polls needs no interrupt; wm_wait asks for it again. */
  if (!(m->in.ring->flags & MEMIF_MASK_INTERRUPT)) __atomic_fetch_or(&m->in.ring->flags, MEMIF_MASK_INTERRUPT, __ATOMIC_RELAXED);
  uint16_t n = waiting(m);
  uint32_t count = 0;
  while (n > 0 && count < room) {
    uint32_t slot = m->in.index & (m->in.size - 1);
    const volatile struct memif_descriptor *d = &m->in.ring->descriptors[slot];
    uint32_t flags = d->flags, region = d->region, length = d->length;
    uint64_t offset = d->offset;
    if (m->role == WM_CLIENT) {
      region = length > m->buffer_bytes ? UINT32_MAX : 0;
      offset = m->in.buffers + (uint64_t)slot * m->buffer_bytes;
    }
    m->in.index++;
    n--;
    if ((flags & MEMIF_CHAINED) || region >= m->regions || offset + length > m->region[region].bytes) continue;
    packets[count++] = (struct wm_packet){m->region[region].base + offset, length};
  }
  return count;
}

void wm_release(struct wm *m) {
  if (!m->up) return;
  if (m->role == WM_SERVER) __atomic_store_n(&m->in.ring->tail, m->in.index, __ATOMIC_RELEASE);
  else offer(m, m->in.first);
  m->in.first = m->in.index;
}

uint8_t *wm_reserve(struct wm *m, uint32_t *capacity) {
  if (!m->up) return NULL;
  struct side *s = &m->out;
  uint32_t slot = s->index & (s->size - 1);
  if (m->role == WM_CLIENT) {
    if ((uint16_t)(s->index - __atomic_load_n(&s->ring->tail, __ATOMIC_ACQUIRE)) >= s->size) return NULL;
    *capacity = m->buffer_bytes;
    return m->region[0].base + s->buffers + (uint64_t)slot * m->buffer_bytes;
  }
  uint16_t free = (uint16_t)(__atomic_load_n(&s->ring->head, __ATOMIC_ACQUIRE) - s->index);
  if (free == 0 || free > s->size) return NULL;
  const volatile struct memif_descriptor *d = &s->ring->descriptors[slot];
  uint32_t region = d->region, length = d->length, offset = d->offset;
  if (region >= m->regions || (uint64_t)offset + length > m->region[region].bytes) return NULL;
  *capacity = length;
  return m->region[region].base + offset;
}

void wm_filled(struct wm *m, uint32_t length) {
  struct side *s = &m->out;
  uint32_t slot = s->index & (s->size - 1);
  struct memif_descriptor *d = &s->ring->descriptors[slot];
  if (m->role == WM_CLIENT) {
    *d = (struct memif_descriptor){.length = length, .offset = (uint32_t)(s->buffers + (uint64_t)slot * m->buffer_bytes)};
  } else {
    d->flags = 0;
    d->length = length;
  }
  s->index++;
}

void wm_send(struct wm *m) {
  if (!m->up) return;
  struct side *s = &m->out;
  __atomic_store_n(m->role == WM_SERVER ? &s->ring->tail : &s->ring->head, s->index, __ATOMIC_RELEASE);
  atomic_thread_fence(memory_order_seq_cst);
  if (!(__atomic_load_n(&s->ring->flags, __ATOMIC_RELAXED) & MEMIF_MASK_INTERRUPT)) {
    uint64_t one = 1;
    if (write(s->fd, &one, sizeof one) < 0) { /* it has been told */ }
  }
}
