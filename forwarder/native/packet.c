/* SPDX-License-Identifier: Apache-2.0 */
#include "packet.h"

#include <string.h>

static uint16_t get16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }
static void put16(uint8_t *p, unsigned v) { p[0] = (uint8_t)(v >> 8); p[1] = (uint8_t)v; }

uint32_t internet_sum(const uint8_t *p, uint32_t n, uint32_t total) {
  for (; n > 1; p += 2, n -= 2) total += get16(p);
  return n ? total + (uint32_t)(p[0] << 8) : total;
}
static uint16_t fold(uint32_t total) {
  while (total >> 16) total = (total & 0xffff) + (total >> 16);
  return (uint16_t)~total;
}

uint16_t internet_checksum(const uint8_t *p, uint32_t n, uint32_t total) { return fold(internet_sum(p, n, total)); }

uint32_t ip_offset(const uint8_t *frame, uint32_t length) {
  if (length < ETHERNET_BYTES + 4) return 0;
  uint32_t at = 12;
  if (get16(frame + at) == 0x8100) at += 4;
  uint16_t type = get16(frame + at);
  return type == 0x0800 || type == 0x86dd ? at + 2 : 0;
}

int ip_version(const uint8_t *packet, uint32_t length) {
  if (length >= 20 && packet[0] >> 4 == 4) return 4;
  return length >= 40 && packet[0] >> 4 == 6 ? 6 : 0;
}

void set_dscp(uint8_t *packet, uint32_t length, unsigned dscp) {
  int version = ip_version(packet, length);
  if (version == 4) {
    uint32_t header = (packet[0] & 15u) * 4;
    if (header < 20 || header > length) return;
    packet[1] = (uint8_t)(dscp << 2 | (packet[1] & 3));
    put16(packet + 10, 0);
    put16(packet + 10, fold(internet_sum(packet, header, 0)));
  } else if (version == 6) {
    packet[0] = (uint8_t)(0x60 | dscp >> 2);
    packet[1] = (uint8_t)((dscp & 3) << 6 | (packet[1] & 0x3f));
  }
}

static uint32_t too_big_4(const uint8_t *p, uint32_t length, uint32_t mtu, uint8_t *a) {
  uint32_t header = (p[0] & 15u) * 4;
  if (header < 20 || header > length) return 0;
  /* RFC 1122 3.2.2: no error about an error, a later fragment, or a group. */
  if (get16(p + 6) & 0x1fff || p[16] >= 224 || p[12] >= 224 || p[12] == 0) return 0;
  if (p[9] == 1 && (header >= length || (p[header] != 8 && p[header] != 0))) return 0;
  uint32_t quoted = length < 548 ? length : 548;
  memset(a, 0, 28);
  a[0] = 0x45;
  put16(a + 2, 28 + quoted);
  a[8] = 64;
  a[9] = 1;
  memcpy(a + 12, p + 16, 4);
  memcpy(a + 16, p + 12, 4);
  put16(a + 10, fold(internet_sum(a, 20, 0)));
  a[20] = 3;
  a[21] = 4;
  put16(a + 26, mtu);
  memcpy(a + 28, p, quoted);
  put16(a + 22, fold(internet_sum(a + 20, 8 + quoted, 0)));
  return 28 + quoted;
}

static uint16_t icmp6_sum(const uint8_t *packet, uint32_t payload) {
  return fold(internet_sum(packet + 8, 32, internet_sum(packet + 40, payload, payload + 58)));
}

static uint32_t too_big_6(const uint8_t *p, uint32_t length, uint32_t mtu, uint8_t *a) {
  /* RFC 4443 2.4: no error about an error or to a group; a packet to a group may be too big. */
  if (p[8] == 0xff || (p[8] | p[9]) == 0) return 0;
  if (p[6] == 58 && (length < 41 || p[40] < 128)) return 0;
  uint32_t quoted = length < 1232 ? length : 1232;
  memset(a, 0, 48);
  a[0] = 0x60;
  put16(a + 4, 8 + quoted);
  a[6] = 58;
  a[7] = 64;
  memcpy(a + 8, p + 24, 16);
  if (a[8] == 0xff) memcpy(a + 8, p + 8, 16);
  memcpy(a + 24, p + 8, 16);
  a[40] = 2;
  put16(a + 46, mtu);
  memcpy(a + 48, p, quoted);
  put16(a + 42, icmp6_sum(a, 8 + quoted));
  return 48 + quoted;
}

uint32_t answer_too_big(const uint8_t *packet, uint32_t length, uint32_t mtu, uint8_t *answer) {
  /* One reading of what decides: the sender may change it meanwhile. */
  uint8_t copy[1300];
  uint32_t n = length < sizeof copy ? length : (uint32_t)sizeof copy;
  memcpy(copy, packet, n);
  switch (ip_version(copy, n)) {
    case 4: return too_big_4(copy, n, mtu, answer);
    case 6: return too_big_6(copy, n, mtu, answer);
    default: return 0;
  }
}

uint32_t answer_neighbour(const uint8_t *frame, uint32_t length, const uint8_t mac[6], uint8_t *a) {
  uint8_t f[128];
  uint32_t n = length < sizeof f ? length : (uint32_t)sizeof f;
  memcpy(f, frame, n);
  if (n >= 42 && get16(f + 12) == 0x0806) {
    if (get16(f + 20) != 1 || memcmp(f + 28, f + 38, 4) == 0) return 0;
    memcpy(a, f + 6, 6);
    memcpy(a + 6, mac, 6);
    memcpy(a + 12, f + 12, 8);
    put16(a + 20, 2);
    memcpy(a + 22, mac, 6);
    memcpy(a + 28, f + 38, 4);
    memcpy(a + 32, f + 22, 10);
    return 42;
  }
  /* Neighbour solicitation, RFC 4861 4.3; not one for duplicate address detection (source "::"). */
  if (n < 78 || get16(f + 12) != 0x86dd || f[20] != 58 || f[54] != 135) return 0;
  static const uint8_t unspecified[16];
  if (memcmp(f + 22, unspecified, 16) == 0 || f[62] == 0xff) return 0;
  memcpy(a, f + 6, 6);
  memcpy(a + 6, mac, 6);
  put16(a + 12, 0x86dd);
  uint8_t *p = a + 14;
  memset(p, 0, 72);
  p[0] = 0x60;
  put16(p + 4, 32);
  p[6] = 58;
  p[7] = 255;
  memcpy(p + 8, f + 62, 16);
  memcpy(p + 24, f + 22, 16);
  p[40] = 136;
  p[44] = 0x60; /* solicited, override */
  memcpy(p + 48, f + 62, 16);
  p[64] = 2;
  p[65] = 1;
  memcpy(p + 66, mac, 6);
  put16(p + 42, icmp6_sum(p, 32));
  return 86;
}

uint32_t question_neighbour(uint32_t family, const uint8_t mac[6], const uint8_t *own, const uint8_t *target, uint8_t *f) {
  memcpy(f + 6, mac, 6);
  if (family == 4) {
    static const uint8_t request[8] = {0, 1, 8, 0, 6, 4, 0, 1};
    memset(f, 0xff, 6);
    put16(f + 12, 0x0806);
    memcpy(f + 14, request, 8);
    memcpy(f + 22, mac, 6);
    memcpy(f + 28, own, 4);
    memset(f + 32, 0, 6);
    memcpy(f + 38, target, 4);
    return 42;
  }
  static const uint8_t group[13] = {0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff}; /* solicited nodes, RFC 4291 2.7.1 */
  f[0] = f[1] = 0x33;
  f[2] = 0xff;
  memcpy(f + 3, target + 13, 3);
  put16(f + 12, 0x86dd);
  uint8_t *p = f + 14;
  memset(p, 0, 72);
  p[0] = 0x60;
  put16(p + 4, 32);
  p[6] = 58;
  p[7] = 255;
  memcpy(p + 8, own, 16);
  memcpy(p + 24, group, 13);
  memcpy(p + 37, target + 13, 3);
  p[40] = 135;
  memcpy(p + 48, target, 16);
  p[64] = 1;
  p[65] = 1;
  memcpy(p + 66, mac, 6);
  put16(p + 42, icmp6_sum(p, 32));
  return 86;
}

bool read_neighbour(const uint8_t *f, uint32_t n, struct neighbour_message *m) {
  memset(m, 0, sizeof *m);
  if (n >= 42 && get16(f + 12) == 0x0806) {
    m->family = get16(f + 14) == 1 && get16(f + 16) == 0x0800 && f[18] == 6 && f[19] == 4 ? 4 : 0;
    m->asks = get16(f + 20) == 1;
    m->mac_known = true;
    memcpy(m->mac, f + 22, 6);
    memcpy(m->sender, f + 28, 4);
    memcpy(m->target, f + 38, 4);
    return true;
  }
  if (n < 78 || get16(f + 12) != 0x86dd || f[20] != 58 || f[21] != 255 || (f[54] != 135 && f[54] != 136)) return false;
  m->family = 6;
  m->asks = f[54] == 135;
  memcpy(m->target, f + 62, 16);
  memcpy(m->sender, f + (m->asks ? 22 : 62), 16);
  /* The hardware address is an option: its source (1) of the question, its target (2) of the answer. */
  for (uint32_t at = 78; at + 8 <= n && f[at + 1] != 0; at += f[at + 1] * 8u) {
    if (f[at] != (m->asks ? 1 : 2)) continue;
    m->mac_known = true;
    memcpy(m->mac, f + at + 2, 6);
    break;
  }
  return true;
}

bool echo_reply(uint8_t *bytes, uint32_t length, bool ethernet) {
  uint32_t at = ethernet ? ip_offset(bytes, length) : 0;
  if (ethernet && at == 0) return false;
  uint8_t *p = bytes + at;
  uint32_t n = length - at;
  uint8_t turned[16];
  int version = ip_version(p, n);
  if (version == 4) {
    uint32_t header = (p[0] & 15u) * 4;
    if (header < 20 || n < header + 8 || p[9] != 1 || p[header] != 8) return false;
    memcpy(turned, p + 12, 4);
    memcpy(p + 12, p + 16, 4);
    memcpy(p + 16, turned, 4);
    p[header] = 0;
    /* The type went down by 8 in the high byte: RFC 1624. */
    uint32_t check = (uint32_t)get16(p + header + 2) + 0x0800;
    put16(p + header + 2, (check & 0xffff) + (check >> 16));
  } else if (version == 6) {
    if (n < 48 || p[6] != 58 || p[40] != 128) return false;
    memcpy(turned, p + 8, 16);
    memcpy(p + 8, p + 24, 16);
    memcpy(p + 24, turned, 16);
    p[40] = 129;
    uint32_t check = (uint32_t)(uint16_t)~get16(p + 42) + (uint16_t)~0x8000u + 0x8100;
    put16(p + 42, fold(check));
  } else {
    return false;
  }
  if (ethernet) {
    memcpy(turned, bytes, 6);
    memcpy(bytes, bytes + 6, 6);
    memcpy(bytes + 6, turned, 6);
  }
  return true;
}
