/* SPDX-License-Identifier: Apache-2.0
 * ping, blast, sink and echo over one memif interface. Each prints one line of JSON a second (or an answer), for people and
 * programs alike. ping --steady sends at its pace also when the link is down, and says so of every packet. */
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
#include <time.h>

#include "keeper.h"
#include "packet.h"
#include "weft_memif.h"

struct tool {
  struct wm_options options;
  const char *source, *destination;
  uint32_t size, count, flows;
  double seconds, rate, interval;
  bool once, steady;
};

static volatile sig_atomic_t stop;
static void on_signal(int number) { stop = number; }

static double seconds_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static const char *explain(const char *problem) {
  fprintf(stderr, "weft-fast: %s\n", problem);
  return problem;
}

/* --name value …; NULL: all good. */
static const char *read_options(struct tool *t, int count, char **a) {
  for (int i = 1; i < count; i++) {
    const char *name = a[i], *value = i + 1 < count ? a[i + 1] : "";
    if (strcmp(name, "--ip") == 0) { t->options.mode = WM_IP; continue; }
    if (strcmp(name, "--server") == 0) { t->options.role = WM_SERVER; continue; }
    if (strcmp(name, "--steady") == 0) { t->steady = true; continue; }
    if (strcmp(name, "--client") == 0) { t->options.role = WM_CLIENT; continue; }
    if (i + 1 >= count) return explain("an option lacks its value");
    i++;
    if (strcmp(name, "--socket") == 0) t->options.path = value;
    else if (strcmp(name, "--netns") == 0) t->options.netns = value;
    else if (strcmp(name, "--from") == 0) t->source = value;
    else if (strcmp(name, "--to") == 0) t->destination = value;
    else if (strcmp(name, "--size") == 0) t->size = (uint32_t)atoi(value);
    else if (strcmp(name, "--count") == 0) t->count = (uint32_t)atoi(value);
    else if (strcmp(name, "--seconds") == 0) t->seconds = atof(value);
    else if (strcmp(name, "--rate") == 0) t->rate = atof(value);
    else if (strcmp(name, "--interval") == 0) t->interval = atof(value);
    else if (strcmp(name, "--ring") == 0) t->options.log2_ring = (uint32_t)atoi(value);
    else return explain("unknown option");
  }
  if (t->options.path == NULL) return explain("--socket is missing: the memif socket, @name for an abstract one");
  if (t->size < 64 || t->size > 9000) return explain("--size is 64 … 9000 bytes");
  return NULL;
}

static uint16_t checksum(const uint8_t *p, uint32_t n) {
  uint32_t sum = 0;
  for (uint32_t i = 0; i + 1 < n; i += 2) sum += (uint32_t)(p[i] << 8 | p[i + 1]);
  if (n & 1) sum += (uint32_t)(p[n - 1] << 8);
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return (uint16_t)~sum;
}

/* An IPv4 packet of `length` bytes, of that protocol. */
static void ip_header(uint8_t *p, uint32_t length, uint8_t protocol, const uint8_t from[4], const uint8_t to[4]) {
  memset(p, 0, 20);
  p[0] = 0x45;
  p[2] = (uint8_t)(length >> 8);
  p[3] = (uint8_t)length;
  p[6] = 0x40;
  p[8] = 64;
  p[9] = protocol;
  memcpy(p + 12, from, 4);
  memcpy(p + 16, to, 4);
  uint16_t sum = checksum(p, 20);
  p[10] = (uint8_t)(sum >> 8);
  p[11] = (uint8_t)sum;
}

static uint32_t echo_request(uint8_t *to, const struct tool *t, const uint8_t mac[6], const uint8_t own[6], const uint8_t source[4], const uint8_t destination[4], uint16_t sequence) {
  uint32_t at = 0, length = t->size;
  if (t->options.mode == WM_ETHERNET) {
    memcpy(to, mac, 6);
    memcpy(to + 6, own, 6);
    to[12] = 8;
    to[13] = 0;
    at = 14;
    length -= 14;
  }
  uint8_t *p = to + at;
  ip_header(p, length, 1, source, destination);
  memset(p + 20, 0, length - 20);
  p[20] = 8;
  p[24] = 0x77;
  p[26] = (uint8_t)(sequence >> 8);
  p[27] = (uint8_t)sequence;
  uint16_t sum = checksum(p + 20, length - 20);
  p[22] = (uint8_t)(sum >> 8);
  p[23] = (uint8_t)sum;
  return t->size;
}

static bool send_one(struct wm *m, const uint8_t *bytes, uint32_t length) {
  uint32_t capacity;
  uint8_t *to = wm_reserve(m, &capacity);
  if (to == NULL || capacity < length) return false;
  memcpy(to, bytes, length);
  wm_filled(m, length);
  wm_send(m);
  return true;
}

/* Answers those who ask for our hardware address, so that pods that speak ARP can be pinged. */
static void answer_questions(struct wm *m, const struct wm_packet *p, const uint8_t own[6], const uint8_t source[4]) {
  uint8_t reply[128];
  if (p->length < 42 || p->length > 128) return;
  if (p->data[12] == 8 && p->data[13] == 6 && memcmp(p->data + 38, source, 4) != 0) return;
  uint32_t n = answer_neighbour(p->data, p->length, own, reply);
  if (n > 0) send_one(m, reply, n);
}

static void ask_neighbour(struct wm *m, const uint8_t own[6], const uint8_t source[4], const uint8_t destination[4]) {
  uint8_t f[42] = {255, 255, 255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1};
  memcpy(f + 6, own, 6);
  memcpy(f + 22, own, 6);
  memcpy(f + 28, source, 4);
  memcpy(f + 38, destination, 4);
  send_one(m, f, sizeof f);
}

static const uint8_t own_mac[6] = {2, 0x77, 0x65, 0x66, 0x74, 1};

static int ping(const struct tool *t) {
  uint8_t source[4], destination[4], mac[6] = {255, 255, 255, 255, 255, 255};
  if (t->source == NULL || t->destination == NULL || inet_pton(AF_INET, t->source, source) != 1 || inet_pton(AF_INET, t->destination, destination) != 1) {
    explain("--from and --to are IPv4 addresses: that of this interface and the one to ask");
    return 2;
  }
  struct wm *m;
  int error = wm_open(&t->options, &m);
  if (error < 0) { fprintf(stderr, "weft-fast: open %s: %s\n", t->options.path, strerror(-error)); return 1; }
  uint32_t sent = 0, received = 0;
  bool known = t->options.mode == WM_IP;
  double end = seconds_now() + t->seconds, next = 0, asked = 0, heard = 0, when[65536 / 64];
  while (!stop && seconds_now() < end && received < t->count) {
    /* What was sent last may still be answered. */
    if (t->steady && sent >= t->count && seconds_now() - next > 0.5) break;
    wm_wait(m, 10);
    struct wm_packet in[64];
    uint32_t n = wm_receive(m, in, 64);
    for (uint32_t i = 0; i < n; i++) {
      uint32_t at = t->options.mode == WM_ETHERNET ? 14 : 0;
      if (at && in[i].length >= 42 && in[i].data[12] == 8 && in[i].data[13] == 6 && in[i].data[21] == 2 && memcmp(in[i].data + 28, destination, 4) == 0) {
        memcpy(mac, in[i].data + 22, 6), known = true;
      } else if (at && in[i].length >= 42) {
        answer_questions(m, &in[i], own_mac, source);
      }
      if (in[i].length < at + 28) continue;
      const uint8_t *p = in[i].data + at;
      if (p[0] != 0x45 || p[9] != 1 || p[20] != 0 || p[24] != 0x77) continue;
      uint32_t sequence = (uint32_t)(p[26] << 8 | p[27]);
      if (sequence >= sent) continue;
      received++;
      printf("{\"sequence\":%u,\"bytes\":%u,\"from\":\"%s\",\"ms\":%.3f}\n", sequence, in[i].length, t->destination, (seconds_now() - when[sequence % 1024]) * 1e3);
      fflush(stdout);
    }
    wm_release(m);
    double now = seconds_now();
    bool up = wm_is_up(m);
    heard = n > 0 ? now : heard;
    if (!up && !t->steady) continue;
    /* Another endpoint has another hardware address. */
    bool ask = !known || (t->steady && t->options.mode == WM_ETHERNET && now - heard > 0.1);
    if (up && ask && now - asked > 0.05) ask_neighbour(m, own_mac, source, destination), asked = now;
    if (known && now >= next && sent < t->count + (t->steady ? 0 : 100)) {
      uint8_t packet[9100];
      when[sent % 1024] = now;
      bool taken = up && send_one(m, packet, echo_request(packet, t, mac, own_mac, source, destination, (uint16_t)sent));
      if (t->steady) printf("{\"sending\":%u,\"taken\":%s}\n", sent, taken ? "true" : "false"), fflush(stdout);
      if (taken || t->steady) sent++;
      next = t->steady && now - next < 0.1 ? next + t->interval : now + t->interval;
    }
  }
  printf("{\"sent\":%u,\"received\":%u,\"up\":%s,\"why\":\"%s\"}\n", sent, received, wm_is_up(m) ? "true" : "false", wm_why(m));
  wm_close(m);
  return received >= t->count ? 0 : 1;
}

struct totals { uint64_t sent, sent_bytes, received, received_bytes, wrong, lost, doubled; };

static void report(const struct totals *t, const struct totals *last, double passed, bool up) {
  printf("{\"up\":%s,\"sent\":%" PRIu64 ",\"received\":%" PRIu64 ",\"lost\":%" PRIu64 ",\"doubled\":%" PRIu64 ",\"txMpps\":%.3f,\"rxMpps\":%.3f,\"rxGbps\":%.3f}\n", up ? "true" : "false", t->sent, t->received, t->lost, t->doubled,
         (double)(t->sent - last->sent) / passed / 1e6, (double)(t->received - last->received) / passed / 1e6, (double)(t->received_bytes - last->received_bytes) * 8 / passed / 1e9);
  fflush(stdout);
}

/* Packets carry a number after their headers, so that the sink can tell lost ones from doubled ones. */
#define NUMBER_AT 46

static int blast_or_sink(const struct tool *t, bool blast, bool echo) {
  struct wm *m;
  int error = wm_open(&t->options, &m);
  if (error < 0) { fprintf(stderr, "weft-fast: open %s: %s\n", t->options.path, strerror(-error)); return 1; }
  uint8_t source[4] = {198, 18, 0, 1}, destination[4] = {198, 18, 0, 2}, model[9100];
  if (t->source) inet_pton(AF_INET, t->source, source);
  if (t->destination) inet_pton(AF_INET, t->destination, destination);
  static const uint8_t everybody[6] = {255, 255, 255, 255, 255, 255};
  memset(model, 0, sizeof model);
  echo_request(model, t, everybody, own_mac, source, destination, 0);
  ip_header(model + (t->options.mode == WM_ETHERNET ? 14 : 0), t->size - (t->options.mode == WM_ETHERNET ? 14 : 0), 17, source, destination);
  struct totals total = {0}, last = {0};
  double begin = seconds_now(), said = begin, now = begin;
  uint64_t expected = 0, turns = 0, number = 0;
  uint32_t idle = 0;
  while (!stop && (t->seconds <= 0 || now - begin < t->seconds) && (t->count == 0 || total.sent < t->count)) {
    bool did = false;
    if (turns++ % 64 == 0) {
      now = seconds_now();
      wm_tick(m);
      if (now - said >= t->interval) {
        if (!t->once) report(&total, &last, now - said, wm_is_up(m));
        last = total, said = now;
      }
    }
    if (blast && wm_is_up(m) && (t->rate <= 0 || (double)total.sent < t->rate * (now - begin))) {
      for (uint32_t i = 0; i < 64 && (t->count == 0 || total.sent < t->count); i++) {
        uint32_t capacity;
        uint8_t *to = wm_reserve(m, &capacity);
        if (to == NULL || capacity < t->size) break;
        memcpy(to, model, t->size);
        memcpy(to + NUMBER_AT, &number, sizeof number);
        number++, total.sent++;
        wm_filled(m, t->size);
        did = true;
      }
      wm_send(m);
    }
    struct wm_packet in[64];
    uint32_t n = wm_receive(m, in, 64);
    for (uint32_t i = 0; i < n; i++) {
      total.received++, total.received_bytes += in[i].length;
      if (echo) {
        uint8_t copy[9216], reply[128];
        if (in[i].length > sizeof copy) continue;
        memcpy(copy, in[i].data, in[i].length);
        uint32_t answer = t->options.mode == WM_ETHERNET ? answer_neighbour(copy, in[i].length, own_mac, reply) : 0;
        if (answer > 0) send_one(m, reply, answer);
        else if (echo_reply(copy, in[i].length, t->options.mode == WM_ETHERNET)) send_one(m, copy, in[i].length);
      } else if (in[i].length >= NUMBER_AT + 8) {
        uint64_t got;
        memcpy(&got, in[i].data + NUMBER_AT, sizeof got);
        if (got > expected) total.lost += got - expected;
        if (got < expected) total.doubled++;
        else expected = got + 1;
      }
    }
    if (n > 0) { wm_release(m); did = true; }
    idle = did ? 0 : idle + 1;
    if (!did) sched_yield(); /* the one that we wait for may share this core */
    if (idle > 1000 || !wm_is_up(m)) {
      wm_wait(m, blast && wm_is_up(m) ? 0 : 20);
      idle = 0, turns = 0;
    }
  }
  /* What lies in the ring has been sent; the link must not end under it. */
  for (double until = seconds_now() + 2; blast && wm_unsent(m) > 0 && seconds_now() < until;) wm_wait(m, 1);
  now = seconds_now();
  report(&total, t->once ? &(struct totals){0} : &last, t->once ? now - begin : now - said, wm_is_up(m));
  wm_close(m);
  return 0;
}

int tool_main(int count, char **arguments) {
  struct tool t = {.options = {.role = WM_CLIENT}, .size = 64, .interval = 1, .seconds = 0};
  const char *name = arguments[0];
  if (strcmp(name, "ping") == 0) { t.count = 5; t.seconds = 10; t.interval = 0.2; t.size = 98; }
  if (read_options(&t, count, arguments) != NULL) return 2;
  struct sigaction action = {.sa_handler = on_signal};
  sigaction(SIGTERM, &action, NULL);
  sigaction(SIGINT, &action, NULL);
  signal(SIGPIPE, SIG_IGN);
  if (strcmp(name, "ping") == 0) return ping(&t);
  bool blast = strcmp(name, "blast") == 0, echo = strcmp(name, "echo") == 0;
  if (blast || echo || strcmp(name, "sink") == 0) return blast_or_sink(&t, blast, echo);
  return explain("the commands are keeper, ping, blast, sink and echo") ? 2 : 0;
}
