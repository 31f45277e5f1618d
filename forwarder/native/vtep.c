/* SPDX-License-Identifier: Apache-2.0
 * VXLAN over a device: what the kernel's IP stack does for a UDP socket is done here for one address. No fragments: the MTU of
 * connections leaves room for the tunnel's headers. */
#define _GNU_SOURCE
#include <string.h>

#include "devices.h"
#include "moving.h"
#include "packet.h"

#define IP4_BYTES 20
#define IP6_BYTES 40
#define UDP_BYTES 8
#define VXLAN_BYTES 8

static uint16_t get16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }
static void put16(uint8_t *p, unsigned v) { p[0] = (uint8_t)(v >> 8); p[1] = (uint8_t)v; }

/* RFC 7348 section 5: the source port tells flows apart, for those who spread them over links. */
static uint16_t source_port(const uint8_t *inner, uint32_t length) {
  uint32_t hash = 2166136261u, to = length < 54 ? length : 54;
  for (uint32_t i = 0; i < 12 && i < length; i++) hash = (hash ^ inner[i]) * 16777619u;
  for (uint32_t i = 26; i < to; i++) hash = (hash ^ inner[i]) * 16777619u;
  return (uint16_t)(49152 + (hash >> 8) % 16384);
}

uint8_t *reserve_tunnelled(struct port *p, uint32_t length) {
  struct port *u = p->underlay;
  struct device *d = u->device;
  if (!is_ready(d)) return NULL;
  bool six = d->spec.family == 6;
  uint32_t ip = six ? IP6_BYTES : IP4_BYTES, datagram = UDP_BYTES + VXLAN_BYTES + length;
  if (p->next_hop == NULL || !p->next_hop->known) { d->board->tx_unknown++; return NULL; }
  if (ip + datagram > d->facts.mtu_bytes) return NULL;
  uint8_t *f = d->driver->reserve(d->handle, ETHERNET_BYTES + ip + datagram);
  if (f == NULL) return NULL;
  memcpy(f, p->next_hop->mac, 6);
  memcpy(f + 6, d->facts.mac, 6);
  put16(f + 12, six ? 0x86dd : 0x0800);
  uint8_t *h = f + ETHERNET_BYTES, *udp = h + ip;
  if (six) {
    memset(h, 0, 8);
    h[0] = 0x60;
    put16(h + 4, datagram);
    h[6] = 17;
    h[7] = 64;
    memcpy(h + 8, d->spec.address, 16);
    memcpy(h + 24, &p->remote.sin6_addr, 16);
  } else {
    memset(h, 0, IP4_BYTES);
    h[0] = 0x45;
    put16(h + 2, IP4_BYTES + datagram);
    put16(h + 4, d->ip_id++);
    h[8] = 64;
    h[9] = 17;
    memcpy(h + 12, d->spec.address, 4);
    memcpy(h + 16, &((struct sockaddr_in *)&p->remote)->sin_addr, 4);
    put16(h + 10, internet_checksum(h, IP4_BYTES, 0));
  }
  put16(udp + 2, ntohs(six ? p->remote.sin6_port : ((struct sockaddr_in *)&p->remote)->sin_port));
  put16(udp + 4, datagram);
  put16(udp + 6, 0); /* none over IPv4; over IPv6 it is made when the frame is whole, as the source port is */
  uint8_t *vxlan = udp + UDP_BYTES;
  memset(vxlan, 0, VXLAN_BYTES);
  vxlan[0] = 0x08;
  vxlan[4] = (uint8_t)(p->vni >> 16);
  vxlan[5] = (uint8_t)(p->vni >> 8);
  vxlan[6] = (uint8_t)p->vni;
  return vxlan + VXLAN_BYTES;
}

/* RFC 8200 8.1: there is no UDP over IPv6 without a checksum, unless both ends have agreed. */
void finish_tunnelled(const struct port *p, uint8_t *inner, uint32_t length) {
  uint8_t *udp = inner - VXLAN_BYTES - UDP_BYTES, *h = udp - IP6_BYTES;
  put16(udp, source_port(inner, length));
  if (p->underlay->device->spec.family != 6) return;
  uint32_t datagram = UDP_BYTES + VXLAN_BYTES + length;
  uint16_t check = internet_checksum(udp, datagram, internet_sum(h + 8, 32, datagram + 17));
  put16(udp + 6, check == 0 ? 0xffff : check);
}

static struct port *underlay_of(struct worker *w, const struct device *d, uint16_t udp_port) {
  for (uint32_t i = 0; i < MAX_UNDERLAYS; i++) {
    struct port *u = &w->underlays[i];
    if (u->up && u->device == d && u->users == udp_port) return u;
  }
  return NULL;
}

/* Says "here I am" to whoever pings the tunnel's address. */
static void answer_echo(struct device *d, const uint8_t *frame, uint32_t length) {
  uint8_t copy[2048];
  if (length > sizeof copy) return;
  memcpy(copy, frame, length);
  if (echo_reply(copy, length, true)) send_frame(d, copy, length);
}

struct port *hear_frame(struct worker *w, struct device *d, const uint8_t **data, uint32_t *length, const void **sender) {
  const uint8_t *f = *data;
  uint32_t n = *length;
  if (d->spec.family == 0 || n < ETHERNET_BYTES + IP4_BYTES) { d->board->rx_other++; return NULL; }
  if (hear_neighbour(w, d, f, n)) return NULL;
  bool six = d->spec.family == 6;
  const uint8_t *h = f + ETHERNET_BYTES;
  uint32_t room = n - ETHERNET_BYTES, ip, total;
  bool ours = false;
  if (!six && get16(f + 12) == 0x0800) {
    ip = (h[0] & 15u) * 4u;
    total = get16(h + 2);
    ours = h[0] >> 4 == 4 && ip >= IP4_BYTES && total >= ip + UDP_BYTES && total <= room && (get16(h + 6) & 0x3fff) == 0 && memcmp(h + 16, d->spec.address, 4) == 0;
  } else if (six && get16(f + 12) == 0x86dd && room >= IP6_BYTES + UDP_BYTES) {
    ip = IP6_BYTES;
    total = IP6_BYTES + get16(h + 4);
    ours = h[0] >> 4 == 6 && total >= ip + UDP_BYTES && total <= room && memcmp(h + 24, d->spec.address, 16) == 0;
  }
  if (!ours) { d->board->rx_other++; return NULL; }
  if (h[six ? 6 : 9] != 17) {
    answer_echo(d, f, n);
    return NULL;
  }
  const uint8_t *udp = h + ip;
  uint32_t datagram = get16(udp + 4);
  struct port *u = datagram < UDP_BYTES || datagram > total - ip ? NULL : underlay_of(w, d, get16(udp + 2));
  if (u == NULL) { d->board->rx_other++; return NULL; }
  *data = udp + UDP_BYTES;
  *length = datagram - UDP_BYTES;
  *sender = h + (six ? 8 : 12);
  return u;
}
