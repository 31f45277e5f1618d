/* SPDX-License-Identifier: Apache-2.0
 * Hostile peers against a whole core, under AddressSanitizer and UndefinedBehaviorSanitizer: weft-fuzz SECONDS SEED.
 *
 *   talkers   say random things during the handshake, with random descriptors, and vanish anywhere
 *   scribes   connect properly and then write random heads, tails, flags, regions, offsets and lengths into their memory
 *   shrinkers try to make their memory smaller under the worker
 *
 * Beside them an honest pair of peers sends numbered packets all the time: none may be lost or doubled beyond what is
 * counted, whatever the others do. The same seed does the same. Exit code 0: all survived. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "fuzz-frames.h"
#include "link.h"
#include "weft_fast.h"
#include "weft_memif.h"

static uint64_t state;
static uint64_t draw(void) { /* xorshift64* */
  state ^= state >> 12;
  state ^= state << 25;
  state ^= state >> 27;
  return state * 2685821657736338717ull;
}
static uint32_t below(uint32_t n) { return (uint32_t)(draw() >> 33) % n; }

static double seconds_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Numbers that break things more often than others. */
static uint64_t odd_number(void) {
  static const uint64_t known[] = {0, 1, 2, 15, 16, 127, 128, 129, 255, 256, 4095, 4096, 32767, 32768, 65535, 65536, 0x7fffffff, 0x80000000, 0xfffffff0, 0xffffffff, 1ull << 36, UINT64_MAX};
  return below(3) ? known[below(sizeof known / sizeof known[0])] + below(3) - 1 : draw() >> below(64);
}

static char sockets[4][40];

static int some_descriptor(uint64_t bytes) {
  switch (below(5)) {
    case 0: return -1;
    case 1: return eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    case 2: return open("/dev/null", O_RDWR | O_CLOEXEC);
    default: {
      int fd = memfd_create("evil", MFD_CLOEXEC | (below(4) ? MFD_ALLOW_SEALING : 0));
      if (fd >= 0 && ftruncate(fd, (off_t)(below(3) ? bytes : bytes / 2)) < 0) { /* too large: smaller than announced */ }
      return fd;
    }
  }
}

static void say(int fd, const void *bytes, size_t n, int descriptor) {
  struct iovec part = {(void *)bytes, n};
  union { char room[CMSG_SPACE(sizeof(int))]; struct cmsghdr aligned; } control;
  struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
  memset(&control, 0, sizeof control);
  if (descriptor >= 0) {
    header.msg_control = control.room;
    header.msg_controllen = sizeof control.room;
    struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(rights), &descriptor, sizeof descriptor);
  }
  if (sendmsg(fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) { /* the other side has had enough */ }
}

static void talk(const char *socket) {
  int fd = link_connect(socket, NULL);
  if (fd < 0) return;
  uint32_t messages = 1 + below(12);
  bool proper = below(2);
  for (uint32_t i = 0; i < messages; i++) {
    union { struct memif_message message; uint8_t bytes[256]; } sent_bytes = {.bytes = {0}};
    #define m sent_bytes.message
    for (size_t at = 0; at < sizeof m; at += 8) { uint64_t random = below(2) ? draw() : 0; memcpy((uint8_t *)&m + at, &random, 8); }
    uint64_t bytes = below(8) ? 65536 : odd_number();
    m.type = (uint16_t)(proper ? (i == 0 ? MEMIF_INIT : i < 3 ? MEMIF_ADD_REGION : i < 5 ? MEMIF_ADD_RING : MEMIF_CONNECT) : below(10));
    if (m.type == MEMIF_INIT && below(8)) { m.init.version = MEMIF_VERSION_2_0; m.init.mode = (uint8_t)below(2); }
    if (m.type == MEMIF_ADD_REGION && below(8)) { m.add_region.index = (uint16_t)(i > 0 ? i - 1 : 0); m.add_region.size = bytes; }
    if (m.type == MEMIF_ADD_RING && below(8)) {
      m.add_ring.flags = (uint16_t)below(2);
      m.add_ring.index = 0;
      m.add_ring.region = (uint16_t)below(3);
      m.add_ring.offset = (uint32_t)odd_number();
      m.add_ring.log2_ring = (uint8_t)below(16);
    }
    int descriptor = m.type == MEMIF_ADD_RING && below(4) ? eventfd(0, EFD_CLOEXEC) : some_descriptor(bytes < 1 << 24 ? bytes : 4096);
    say(fd, &m, below(16) ? sizeof m : below(200), descriptor);
    #undef m
    if (descriptor >= 0) close(descriptor);
    if (below(3) == 0) usleep(below(300));
  }
  close(fd);
}

static void scribble(uint8_t *base, uint64_t bytes, uint32_t log2) {
  for (uint32_t times = 1 + below(40); times > 0; times--) {
    struct memif_ring *ring = (struct memif_ring *)(base + (below(2) ? 0 : memif_ring_bytes(log2)));
    switch (below(6)) {
      case 0: __atomic_store_n(&ring->head, (uint16_t)(ring->head + below(1u << log2)), __ATOMIC_RELEASE); break;
      case 1: __atomic_store_n(below(2) ? &ring->head : &ring->tail, (uint16_t)odd_number(), __ATOMIC_RELEASE); break;
      case 2: ring->flags = (uint16_t)below(4); break;
      case 3: base[draw() % bytes] = (uint8_t)draw(); break;
      default: {
        struct memif_descriptor *d = &ring->descriptors[below(1u << log2)];
        d->flags = (uint16_t)below(3);
        d->region = (uint16_t)(below(4) ? 0 : odd_number());
        d->offset = (uint32_t)(below(2) ? draw() % bytes : odd_number());
        d->length = (uint32_t)(below(2) ? below(3000) : odd_number());
      }
    }
    if (below(4) == 0) sched_yield();
  }
}

/* A client that is welcome and then misbehaves. */
static void scribe(const char *socket, uint32_t mode) {
  int fd = link_connect(socket, NULL);
  if (fd < 0) return;
  struct link l;
  uint32_t log2 = 1 + below(8);
  if (link_begin_client(&l, fd, mode, 0, log2, 64 + 64 * below(40)) < 0) { link_close(&l, NULL); return; }
  int result = 0;
  for (double until = seconds_now() + 1; result == 0 && seconds_now() < until; usleep(50)) result = link_readable(&l);
  uint64_t bytes = l.region[0].bytes;
  uint8_t *base = result == 1 ? mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, l.region[0].fd, 0) : MAP_FAILED;
  if (base != MAP_FAILED) {
    for (uint32_t round = 1 + below(20); round > 0; round--) {
      scribble(base, bytes, log2);
      if (below(3) == 0 && ftruncate(l.region[0].fd, (off_t)(bytes / 2)) == 0) { fprintf(stderr, "memory could be made smaller\n"); exit(1); }
      uint64_t one = below(8) ? 1 : UINT64_MAX - 1;
      if (write(l.ring[RING_C2S].fd, &one, sizeof one) < 0) { /* full */ }
      if (below(2)) usleep(below(200));
    }
    munmap(base, bytes);
  }
  link_close(&l, below(2) ? "done" : NULL);
}

/* Packets, hostile in themselves, through functions that look into them. */
static void parse(void) {
  uint32_t n = below(1600);
  uint8_t *exact = malloc(n ? n : 1);
  for (uint32_t i = 0; i < n; i++) exact[i] = (uint8_t)draw();
  if (n > 14) exact[0] = (uint8_t)(below(2) ? 0x45 + below(16) : 0x60);
  if (n > 40 && below(2)) { exact[12] = below(2) ? 0x08 : 0x86; exact[13] = (uint8_t)(below(2) ? 0 : below(2) ? 6 : 0xdd); exact[14] = below(2) ? 0x45 : 0x60; exact[20] = 58; }
  /* What a tunnel of ours would carry, broken somewhere. */
  if (n > 60 && below(2)) {
    bool six = below(2);
    memset(exact + 14, 0, 40);
    exact[12] = six ? 0x86 : 8;
    exact[13] = six ? 0xdd : 0;
    exact[14] = six ? 0x60 : 0x45;
    exact[six ? 20 : 23] = 17;
    uint32_t udp = six ? 54 : 34, whole = n - 14;
    if (!six) { exact[16] = (uint8_t)(whole >> 8); exact[17] = (uint8_t)whole; }
    else { exact[18] = (uint8_t)((whole - 40) >> 8); exact[19] = (uint8_t)(whole - 40); }
    if (udp + 8 <= n) { exact[udp + 2] = 0x12; exact[udp + 3] = 0xb5; exact[udp + 4] = (uint8_t)((n - udp) >> 8); exact[udp + 5] = (uint8_t)(n - udp); }
    if (below(4) == 0) exact[14 + below(n - 14)] = (uint8_t)draw();
  }
  look_into(exact, n, (uint32_t)draw());
  free(exact);
}

static volatile bool over;
static uint64_t sent, received, doubled;

static void *honest(void *argument) {
  struct wm *a = ((struct wm **)argument)[0], *b = ((struct wm **)argument)[1];
  uint64_t expected = 0;
  double drained = 0;
  while (!over || (drained == 0 ? (drained = seconds_now()) > 0 : seconds_now() - drained < 0.5)) {
    wm_tick(a);
    wm_tick(b);
    for (int i = 0; i < 16 && !over && wm_is_up(a) && wm_is_up(b); i++) {
      uint32_t capacity;
      uint8_t *to = wm_reserve(a, &capacity);
      if (to == NULL || capacity < 128) break;
      memset(to, 0, 128);
      to[12] = 8;
      to[14] = 0x45;
      memcpy(to + 64, &sent, sizeof sent);
      sent++;
      wm_filled(a, 128);
    }
    wm_send(a);
    struct wm_packet in[64];
    uint32_t n = wm_receive(b, in, 64);
    for (uint32_t i = 0; i < n; i++) {
      uint64_t number;
      memcpy(&number, in[i].data + 64, sizeof number);
      received++;
      if (number < expected) doubled++;
      else expected = number + 1;
    }
    if (n > 0) wm_release(b);
    usleep(100);
  }
  return NULL;
}

static int add(wf *w, const char *name, const char *path, uint32_t mode) {
  struct wf_port port = {.kind = WF_PORT_MEMIF, .mode = mode, .role = WF_SERVER};
  snprintf(port.name, sizeof port.name, "%s", name);
  snprintf(port.path, sizeof port.path, "%s", path);
  return wf_port_add(w, &port);
}

static int join(wf *w, const char *name, int a, int b, uint32_t dscp) {
  struct wf_connect c = {.port_a = (uint32_t)a, .port_b = (uint32_t)b, .mtu_bytes = 1400, .dscp = dscp};
  snprintf(c.name, sizeof c.name, "%s", name);
  return wf_connect_set(w, &c);
}

int main(int count, char **arguments) {
  double seconds = count > 1 ? atof(arguments[1]) : 10;
  uint64_t seed = count > 2 ? strtoull(arguments[2], NULL, 10) : (uint64_t)time(NULL);
  state = seed * 2654435761u + 88172645463325252ull;
  wf *w;
  if (wf_open(WF_THREADS, NULL, &w) < 0) { fprintf(stderr, "%s\n", wf_error()); return 1; }
  const uint32_t modes[4] = {WF_ETHERNET, WF_IP, WF_ETHERNET, WF_ETHERNET};
  int ports[6];
  for (int i = 0; i < 4; i++) {
    snprintf(sockets[i], sizeof sockets[i], "@weft-fuzz/%d/%d", (int)getpid(), i);
    ports[i] = add(w, sockets[i] + 1, sockets[i], modes[i]);
  }
  char near[48], far[48];
  snprintf(near, sizeof near, "@weft-fuzz/%d/near", (int)getpid());
  snprintf(far, sizeof far, "@weft-fuzz/%d/far", (int)getpid());
  ports[4] = add(w, "near", near, WF_ETHERNET);
  ports[5] = add(w, "far", far, WF_ETHERNET);
  join(w, "evil", ports[0], ports[1], 10);
  join(w, "evil-plain", ports[2], ports[3], 255);
  int good = join(w, "honest", ports[4], ports[5], 255);
  struct wm *pair[2];
  if (good < 0 || wm_open(&(struct wm_options){.path = near, .role = WM_CLIENT}, &pair[0]) < 0 || wm_open(&(struct wm_options){.path = far, .role = WM_CLIENT}, &pair[1]) < 0) return 1;
  pthread_t thread;
  if (pthread_create(&thread, NULL, honest, pair) != 0) return 1;
  uint64_t talks = 0, scribes = 0;
  for (double until = seconds_now() + seconds; seconds_now() < until;) {
    uint32_t target = below(4);
    for (int i = 0; i < 20; i++) parse();
    if (below(3)) { scribe(sockets[target], modes[target]); scribes++; }
    else { talk(sockets[target]); talks++; }
  }
  over = true;
  pthread_join(thread, NULL);
  uint64_t size;
  const uint8_t *board = wf_board(w, &size);
  const struct wf_board_head *head = (const struct wf_board_head *)board;
  const struct wf_board_direction *d = (const struct wf_board_direction *)(board + head->directions_at) + 2 * good;
  const struct wf_board_port *p = (const struct wf_board_port *)(board + head->ports_at);
  bool ok = sent > 0 && received == d->packets && received + d->drop_full == sent && doubled == 0 && p[ports[4]].breaks == 0 && p[ports[5]].breaks == 0;
  printf("{\"ok\":%s,\"seed\":%" PRIu64 ",\"handshakes\":%" PRIu64 ",\"scribes\":%" PRIu64 ",\"sent\":%" PRIu64 ",\"received\":%" PRIu64 ",\"full\":%" PRIu64 ",\"doubled\":%" PRIu64 "}\n", ok ? "true" : "false", seed, talks, scribes, sent, received, d->drop_full, doubled);
  wm_close(pair[0]);
  wm_close(pair[1]);
  wf_close(w);
  return ok ? 0 : 1;
}
