/* SPDX-License-Identifier: Apache-2.0
 * What the figures are measured with: a generator and sink that costs next to nothing, the bare cost of forwarding, and a
 * function of a chain. Each prints one line of JSON. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "keeper.h"
#include "link.h"
#include "moving.h"
#include "weft_memif.h"

#define BUFFER 2048

struct arguments { const char *socket, *to; uint32_t size, log2_ring; double seconds; int cpu; };

static volatile sig_atomic_t stop;
static void on_signal(int number) { stop = number; }

static double seconds_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static uint64_t cycles_now(void) {
#if defined(__x86_64__)
  return __builtin_ia32_rdtsc();
#else
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
#endif
}

static uint16_t load16(const uint16_t *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
static void store16(uint16_t *p, uint16_t v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }

/* The client's side of a memif, by hand: `out` is filled once and only its index moves. */
struct peer { struct link link; uint8_t *base; struct memif_ring *out, *in; uint32_t size; uint16_t sent, taken; };

static bool map_peer(struct peer *p, uint32_t size) {
  p->base = mmap(NULL, p->link.region[0].bytes, PROT_READ | PROT_WRITE, MAP_SHARED, p->link.region[0].fd, 0);
  if (p->base == MAP_FAILED) return false;
  p->out = (struct memif_ring *)(p->base + p->link.ring[RING_C2S].offset);
  p->in = (struct memif_ring *)(p->base + p->link.ring[RING_S2C].offset);
  p->size = 1u << p->link.log2_ring;
  for (uint32_t i = 0; i < p->size; i++) {
    p->out->descriptors[i].length = size;
    p->out->descriptors[i].flags = 0;
    uint8_t *packet = p->base + p->out->descriptors[i].offset;
    memset(packet, 0xff, 6);
    packet[12] = 8;
    packet[14] = 0x45;
  }
  return true;
}

/* After CONNECTED only: servers zero the indices there. */
static void offer_all(struct peer *p) {
  __atomic_fetch_or(&p->in->flags, MEMIF_MASK_INTERRUPT, __ATOMIC_RELAXED);
  store16(&p->in->head, (uint16_t)p->size);
}

static bool connect_peer(struct peer *p, const char *path, uint32_t size, uint32_t log2_ring) {
  memset(p, 0, sizeof *p);
  for (double until = seconds_now() + 10; seconds_now() < until; usleep(10000)) {
    int fd = link_connect(path, NULL), result = 0;
    if (fd < 0) continue;
    if (link_begin_client(&p->link, fd, WF_ETHERNET, 0, log2_ring, BUFFER) < 0) return false;
    while ((result = link_readable(&p->link)) == 0 && seconds_now() < until) usleep(100);
    if (result == 1 && map_peer(p, size)) {
      offer_all(p);
      return true;
    }
    link_close(&p->link, NULL);
  }
  return false;
}

static uint32_t fill(struct peer *p) {
  uint16_t tail = load16(&p->out->tail), free = (uint16_t)(p->size - (uint16_t)(p->sent - tail));
  if (free == 0) return 0;
  p->sent = (uint16_t)(p->sent + free);
  store16(&p->out->head, p->sent);
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  if (!(__atomic_load_n(&p->out->flags, __ATOMIC_RELAXED) & MEMIF_MASK_INTERRUPT)) {
    uint64_t one = 1;
    if (write(p->link.ring[RING_C2S].fd, &one, sizeof one) < 0) { /* told before */ }
  }
  return free;
}

static uint32_t drain(struct peer *p) {
  uint16_t n = (uint16_t)(load16(&p->in->tail) - p->taken);
  /* The server takes `length` as the room of a buffer. */
  for (uint16_t i = 0; i < n; i++) p->in->descriptors[(uint16_t)(p->taken + i) & (p->size - 1)].length = BUFFER;
  p->taken = (uint16_t)(p->taken + n);
  if (n > 0) store16(&p->in->head, (uint16_t)(p->taken + p->size));
  return n;
}

/* Packets into one memif, out of another, in one thread. */
static int light(const struct arguments *a) {
  struct peer from, to;
  if (!connect_peer(&to, a->to, a->size, a->log2_ring) || !connect_peer(&from, a->socket, a->size, a->log2_ring)) {
    fprintf(stderr, "weft-fast: nobody answers at %s and %s\n", a->socket, a->to);
    return 1;
  }
  uint64_t sent = 0, received = 0, sent_before = 0, received_before = 0;
  double begin = seconds_now(), warm = 0, now = begin;
  for (uint64_t turn = 0; !stop && (warm == 0 || now - warm < a->seconds); turn++) {
    uint32_t in = drain(&to), out = fill(&from);
    sent += out;
    received += in;
    drain(&from);
    if (turn % 64 != 0) continue;
    now = seconds_now();
    if (warm == 0 && now - begin > 0.3) { warm = now; sent_before = sent; received_before = received; }
  }
  double passed = now - warm;
  printf("{\"sent\":%" PRIu64 ",\"received\":%" PRIu64 ",\"mpps\":%.4f}\n", sent, received, (double)(received - received_before) / passed / 1e6);
  (void)sent_before;
  link_close(&from.link, "done");
  link_close(&to.link, "done");
  return 0;
}

/* ---- the bare cost of forwarding: no process, no socket, one thread ----------------------------------------------- */

static struct worker *bare_worker(void) {
  struct worker *w = calloc(1, sizeof *w);
  w->orders = w->epoll = -1;
  w->board = calloc(1, board_size());
  w->head = (struct wf_board_head *)w->board;
  w->head->ports_at = 4096;
  w->head->directions_at = 4096 + 64 * WF_MAX_PORTS;
  w->ports = calloc(WF_MAX_PORTS, sizeof *w->ports);
  w->directions = calloc(2 * WF_MAX_CONNECTS, sizeof *w->directions);
  w->hot = calloc(WF_MAX_PORTS, sizeof *w->hot);
  return w;
}

static bool bare_port(struct worker *w, uint32_t slot, struct peer *p, uint32_t size, uint32_t log2_ring) {
  if (link_begin_client(&p->link, -1, WF_ETHERNET, 0, log2_ring, BUFFER) < 0 || !map_peer(p, size)) return false;
  struct port *port = &w->ports[slot];
  port->slot = slot;
  port->kind = WF_PORT_MEMIF;
  port->board = (struct wf_board_port *)(w->board + w->head->ports_at) + slot;
  struct order_port o = {.kind = WF_PORT_MEMIF, .role = WF_SERVER, .epoch = 1, .regions = 1};
  o.region_bytes[0] = p->link.region[0].bytes;
  for (int i = 0; i < 2; i++) {
    o.ring[i].offset = p->link.ring[i].offset;
    o.ring[i].log2 = p->link.ring[i].log2;
  }
  int fds[3] = {dup(p->link.region[0].fd), dup(p->link.ring[0].fd), dup(p->link.ring[1].fd)};
  bool good = memif_up(w, port, &o, fds) && port->up;
  offer_all(p);
  return good;
}

static int by_number(const void *a, const void *b) {
  double d = *(const double *)a - *(const double *)b;
  return d < 0 ? -1 : d > 0;
}

/* Packets whose payload has just been written are moved from ring to ring; only that is timed. The median of many rounds. */
static int cycles(const struct arguments *a) {
  struct worker *w = bare_worker();
  struct peer in = {0}, out = {0};
  if (!bare_port(w, 0, &in, a->size, a->log2_ring) || !bare_port(w, 1, &out, a->size, a->log2_ring)) return 1;
  struct wf_connect c = {.port_a = 0, .port_b = 1, .mtu_bytes = 1500, .dscp = 255};
  connect_directions(w, 0, &c);
  enum { ROUNDS = 4000 };
  static double costs[ROUNDS];
  uint64_t packets = 0;
  for (uint32_t round = 0; round < ROUNDS; round++) {
    for (uint32_t i = 0; i < in.size; i++) memset(in.base + in.out->descriptors[i].offset + 20, (int)round, a->size - 20);
    uint32_t n = 0, count;
    fill(&in);
    uint64_t before = cycles_now();
    while ((count = poll_port(w, &w->ports[0])) > 0) n += count;
    costs[round] = (double)(cycles_now() - before) / n;
    packets += drain(&out);
  }
  uint64_t before = cycles_now();
  for (int i = 0; i < 100000; i++) poll_port(w, &w->ports[0]);
  double empty = (double)(cycles_now() - before) / 100000;
  qsort(costs, ROUNDS, sizeof costs[0], by_number);
  printf("{\"size\":%u,\"ring\":%u,\"packets\":%" PRIu64 ",\"cycles\":%.1f,\"least\":%.1f,\"empty\":%.1f}\n", a->size, in.size, packets, costs[ROUNDS / 2], costs[ROUNDS / 100], empty);
  return packets == (uint64_t)ROUNDS * in.size ? 0 : 1;
}

/* ---- a function of a chain ------------------------------------------------------------------------------------------ */

/* From one memif to the other, and sleeps when nothing comes. It listens at both. */
static int relay(const struct arguments *a) {
  struct wm *in, *out;
  if (wm_open(&(struct wm_options){.path = a->socket, .role = WM_SERVER}, &in) < 0 || wm_open(&(struct wm_options){.path = a->to, .role = WM_CLIENT}, &out) < 0) return 1;
  uint64_t moved = 0, full = 0;
  for (uint32_t idle = 0; !stop;) {
    struct wm_packet packets[64];
    uint32_t n = wm_receive(in, packets, 64), capacity;
    for (uint32_t i = 0; i < n; i++) {
      uint8_t *to = wm_reserve(out, &capacity);
      if (to == NULL || capacity < packets[i].length) { full++; continue; }
      memcpy(to, packets[i].data, packets[i].length);
      wm_filled(out, packets[i].length);
      moved++;
    }
    if (n > 0) {
      wm_release(in);
      wm_send(out);
      idle = 0;
    } else if (++idle > 200 || !wm_is_up(out)) {
      wm_wait(in, 5);
      if (!wm_is_up(out)) wm_wait(out, 5);
    }
  }
  printf("{\"moved\":%" PRIu64 ",\"full\":%" PRIu64 "}\n", moved, full);
  wm_close(in);
  wm_close(out);
  return 0;
}

/* ---- what the kernel does with the same machine ---------------------------------------------------------------------- */

/* UDP datagrams that make frames of `size` bytes, 64 a call, to the discard port of --to-socket (an IPv4 address). */
static int datagrams(const struct arguments *a) {
  static uint8_t payload[BUFFER];
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9)};
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || inet_pton(AF_INET, a->to, &to.sin_addr) != 1 || connect(fd, (struct sockaddr *)&to, sizeof to) < 0) return 1;
  struct iovec part = {payload, a->size - 42};
  struct mmsghdr messages[64] = {0};
  for (int i = 0; i < 64; i++) messages[i].msg_hdr = (struct msghdr){.msg_iov = &part, .msg_iovlen = 1};
  uint64_t sent = 0;
  double begin = seconds_now();
  while (!stop && seconds_now() - begin < a->seconds) {
    int n = sendmmsg(fd, messages, 64, 0);
    if (n > 0) sent += (uint64_t)n;
  }
  printf("{\"sent\":%" PRIu64 ",\"seconds\":%.3f}\n", sent, seconds_now() - begin);
  close(fd);
  return 0;
}

int measure_main(int count, char **arguments) {
  struct arguments a = {.size = 64, .seconds = 2, .log2_ring = 10, .cpu = -1};
  for (int i = 1; i + 1 < count; i += 2) {
    const char *name = arguments[i], *value = arguments[i + 1];
    if (strcmp(name, "--socket") == 0) a.socket = value;
    else if (strcmp(name, "--to-socket") == 0) a.to = value;
    else if (strcmp(name, "--size") == 0) a.size = (uint32_t)atoi(value);
    else if (strcmp(name, "--ring") == 0) a.log2_ring = (uint32_t)atoi(value);
    else if (strcmp(name, "--seconds") == 0) a.seconds = atof(value);
    else if (strcmp(name, "--cpu") == 0) a.cpu = atoi(value);
    else { fprintf(stderr, "weft-fast: %s is unknown\n", name); return 2; }
  }
  bool bare = strcmp(arguments[0], "cycles") == 0, udp = strcmp(arguments[0], "datagrams") == 0;
  if (udp) a.socket = "";
  if ((!bare && (a.socket == NULL || a.to == NULL)) || a.size < 64 || a.size > BUFFER || a.log2_ring < 6 || a.log2_ring > 12) {
    fputs("usage: weft-fast light|relay --socket S --to-socket S [--size B] [--ring LOG2] [--seconds S] [--cpu N] | datagrams --to-socket ADDRESS … | cycles [--size B] [--ring LOG2] [--cpu N]\n", stderr);
    return 2;
  }
  cpu_set_t set;
  CPU_ZERO(&set);
  if (a.cpu >= 0) {
    CPU_SET(a.cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set) < 0) fprintf(stderr, "weft-fast: CPU %d: %s\n", a.cpu, strerror(errno));
  }
  struct sigaction action = {.sa_handler = on_signal};
  sigaction(SIGTERM, &action, NULL);
  sigaction(SIGINT, &action, NULL);
  signal(SIGPIPE, SIG_IGN);
  if (udp) return datagrams(&a);
  return bare ? cycles(&a) : strcmp(arguments[0], "relay") == 0 ? relay(&a) : light(&a);
}
