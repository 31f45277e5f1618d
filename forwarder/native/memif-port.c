/* SPDX-License-Identifier: Apache-2.0
 * A memif port in the worker: its memory, and the rules of its rings. Which index means what depends on the role:
 *
 *            receives from                      sends into
 *   server   c2s, up to head; gives back: tail   s2c, up to head (offered buffers); publishes: tail
 *   client   s2c, up to tail; offers: head       c2s, as far as tail (taken); publishes: head
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "worker.h"

/* Memory of peers may vanish under us only if it is made of something that can run out, such as huge pages: then a touch
 * raises SIGBUS. The whole region is replaced by empty memory, and the port is found faulty after the burst. */
static struct { uint8_t *base; uint64_t bytes; struct port *port; } guarded[WF_MAX_PORTS * 2];
static _Atomic uint32_t guarded_count;

static void on_bus_error(int number, siginfo_t *info, void *context) {
  (void)context;
  uint8_t *at = info->si_addr;
  for (uint32_t i = 0; i < guarded_count; i++) {
    if (guarded[i].base == NULL || at < guarded[i].base || at >= guarded[i].base + guarded[i].bytes) continue;
    if (mmap(guarded[i].base, guarded[i].bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) == MAP_FAILED) break;
    guarded[i].port->faulty = true;
    return;
  }
  signal(number, SIG_DFL);
}

void install_bus_guard(void) {
  struct sigaction action = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO | SA_NODEFER};
  sigaction(SIGBUS, &action, NULL);
}

static void guard(uint8_t *base, uint64_t bytes, struct port *port) {
  uint32_t i = 0;
  while (i < guarded_count && guarded[i].base != NULL) i++;
  if (i == sizeof guarded / sizeof guarded[0]) return;
  guarded[i].port = port;
  guarded[i].bytes = bytes;
  guarded[i].base = base;
  if (i == guarded_count) guarded_count = i + 1;
}

static void unguard(const uint8_t *base) {
  for (uint32_t i = 0; i < guarded_count; i++) if (guarded[i].base == base) guarded[i].base = NULL;
}

static uint16_t load16(const uint16_t *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
static void store16(uint16_t *p, uint16_t v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }

/* Writes the descriptors of received buffers anew: the server takes `length` as the room it has, and the peer may have
 * written anything. */
void memif_release(struct port *p, uint16_t from) {
  struct ring *r = &p->rx;
  if (p->role == WF_SERVER) {
    store16(&r->memory->tail, r->index);
  } else {
    for (uint16_t i = from; i != r->index; i++) {
      struct memif_descriptor d = {.length = p->buffer_bytes, .offset = (uint32_t)(r->buffers + (uint64_t)(i & r->mask) * p->buffer_bytes)};
      r->memory->descriptors[i & r->mask] = d;
    }
    store16(&r->memory->head, (uint16_t)(r->index + r->size));
  }
  p->board->rx_index = r->index;
}

void memif_publish(struct port *p) {
  struct ring *r = &p->tx;
  if (r->index == r->published) return;
  store16(p->role == WF_SERVER ? &r->memory->tail : &r->memory->head, r->index);
  r->published = r->index;
  p->board->tx_index = r->index;
  /* The peer clears the flag, then looks at the index once more; we write the index, then look at the flag. */
  atomic_thread_fence(memory_order_seq_cst);
  if (!(__atomic_load_n(&r->memory->flags, __ATOMIC_RELAXED) & MEMIF_MASK_INTERRUPT)) {
    uint64_t one = 1;
    if (write(r->fd, &one, sizeof one) < 0) { /* full: the peer has been told before */ }
  }
}

static bool bind_ring(struct port *p, struct ring *r, const struct order_port *o, int which, int fd) {
  uint32_t region = o->ring[which].region, log2 = o->ring[which].log2;
  if (region >= p->regions || log2 > MEMIF_MAX_LOG2_RING) return false;
  if (o->ring[which].offset + memif_ring_bytes(log2) > p->region[region].bytes) return false;
  r->memory = (struct memif_ring *)(p->region[region].base + o->ring[which].offset);
  r->size = 1u << log2;
  r->mask = (uint16_t)(r->size - 1);
  r->fd = fd;
  return r->memory->cookie == MEMIF_COOKIE;
}

bool memif_up(struct worker *w, struct port *p, const struct order_port *o, const int *fds) {
  p->regions = 0;
  p->buffer_bytes = o->buffer_bytes;
  p->rx.fd = fds[o->regions + (p->role == WF_SERVER ? 0 : 1)];
  p->tx.fd = fds[o->regions + (p->role == WF_SERVER ? 1 : 0)];
  bool good = true;
  for (uint32_t i = 0; i < o->regions; i++) {
    void *base = mmap(NULL, o->region_bytes[i], PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fds[i], 0);
    close(fds[i]);
    if (base == MAP_FAILED) { good = false; continue; }
    guard(base, o->region_bytes[i], p);
    p->region[p->regions].base = base;
    p->region[p->regions++].bytes = o->region_bytes[i];
  }
  int in = p->role == WF_SERVER ? 0 : 1;
  if (!good || !bind_ring(p, &p->rx, o, in, p->rx.fd) || !bind_ring(p, &p->tx, o, 1 - in, p->tx.fd)) {
    complain(w, p, "its memory cannot be used");
    return true;
  }
  if (p->role == WF_CLIENT) {
    uint64_t at = (2 * memif_ring_bytes(o->ring[0].log2) + 4095) & ~4095ull, room = (uint64_t)p->rx.size * p->buffer_bytes;
    p->tx.buffers = at;
    p->rx.buffers = at + room;
    if (at + 2 * room > p->region[0].bytes || p->tx.size != p->rx.size) return false;
  }
  bool goes_on = p->board->epoch == o->epoch;
  p->rx.index = goes_on ? (uint16_t)p->board->rx_index : 0;
  p->tx.index = p->tx.published = goes_on ? (uint16_t)p->board->tx_index : 0;
  if (!goes_on) {
    p->board->rx_index = p->board->tx_index = 0;
    p->board->epoch = o->epoch;
  }
  p->up = true;
  if (p->role == WF_CLIENT) {
    /* After CONNECTED, because servers zero the indices there. A dead worker may have given back less than it had taken. */
    uint16_t from = goes_on ? (uint16_t)(load16(&p->rx.memory->head) - p->rx.size) : (uint16_t)(0 - p->rx.size);
    if ((uint16_t)(p->rx.index - from) > p->rx.size) from = (uint16_t)(p->rx.index - p->rx.size);
    memif_release(p, from);
  }
  return true;
}

void memif_down(struct port *p) {
  for (uint32_t i = 0; i < p->regions; i++) {
    unguard(p->region[i].base);
    munmap(p->region[i].base, p->region[i].bytes);
  }
  p->regions = 0;
  if (p->rx.fd >= 0) close(p->rx.fd);
  if (p->tx.fd >= 0) close(p->tx.fd);
  p->rx.fd = p->tx.fd = -1;
}
