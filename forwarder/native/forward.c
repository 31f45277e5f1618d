/* SPDX-License-Identifier: Apache-2.0
 * Everything that can happen to one packet on its way from any port to any other. */
#define _GNU_SOURCE
#include <string.h>

#include "moving.h"
#include "packet.h"

#define ANSWER_EVERY_NS 1000000 /* at most a thousand answers a second and direction */

static const uint8_t broadcast[6] = {255, 255, 255, 255, 255, 255};

static void too_big(struct worker *w, struct direction *x, const uint8_t *packet, uint32_t length, const uint8_t *frame) {
  x->board->drop_mtu++;
  if (w->now_ns < x->answers_ns) return;
  uint8_t answer[ETHERNET_BYTES + ANSWER_BYTES];
  uint32_t n = answer_too_big(packet, length, x->mtu, answer + ETHERNET_BYTES);
  if (n == 0) return;
  x->answers_ns = w->now_ns + ANSWER_EVERY_NS;
  if (frame == NULL) { send_back(w, x, answer + ETHERNET_BYTES, n); return; }
  if (frame[0] & 1) memcpy(answer + 6, x->src->own_mac, 6);
  else memcpy(answer + 6, frame, 6);
  memcpy(answer, frame + 6, 6);
  answer[12] = answer[14] >> 4 == 4 ? 0x08 : 0x86;
  answer[13] = answer[14] >> 4 == 4 ? 0x00 : 0xdd;
  send_back(w, x, answer, ETHERNET_BYTES + n);
}

static bool within_rate(struct worker *w, struct direction *x, uint32_t length) {
  if (x->rate == 0) return true;
  uint64_t past = w->now_ns - x->last_ns;
  if (past > 1000000000ull) past = 1000000000ull;
  x->last_ns = w->now_ns;
  /* Tokens are bits × 10⁹, so that no time is lost to rounding. */
  __uint128_t tokens = (__uint128_t)x->tokens + (__uint128_t)x->rate * past / 1000;
  x->tokens = tokens > x->depth ? x->depth : (uint64_t)tokens;
  uint64_t cost = (uint64_t)length * 8 * 1000000;
  if (x->tokens < cost) return false;
  x->tokens -= cost;
  return true;
}

uint8_t *scratch(struct worker *w) {
  return w->scratch + (size_t)(w->scratch_next++ % (BURST * 2)) * BUFFER_BYTES;
}

/* Everything that can happen to a packet. `data` stays valid until the next flush. */
void forward_one(struct worker *w, struct direction *x, const uint8_t *data, uint32_t length) {
  struct port *s = x->src, *d = x->dst;
  const uint8_t *frame = s->mode == WF_ETHERNET ? data : NULL;
  uint8_t header[ETHERNET_BYTES];
  uint32_t header_length = 0, at = 0;
  if (frame != NULL ? length < ETHERNET_BYTES : length < 20) { x->board->drop_bad++; return; }
  if (d->kind == WF_PORT_ECHO) {
    uint8_t *copy = scratch(w), answer[128];
    uint32_t n = frame != NULL ? answer_neighbour(frame, length, s->own_mac, answer) : 0;
    memcpy(copy, data, length);
    x->packets++;
    x->bytes += length;
    if (n > 0) send_back(w, x, answer, n);
    else if (echo_reply(copy, length, frame != NULL)) send_back(w, x, copy, length);
    return;
  }
  if (frame != NULL && d->mode == WF_IP) {
    uint8_t answer[128];
    if (!(frame[6] & 1)) memcpy(s->mac, frame + 6, 6);
    at = ip_offset(frame, length);
    uint32_t n = answer_neighbour(frame, length, s->own_mac, answer);
    if (n > 0) { send_back(w, x, answer, n); return; }
    if (at == 0) { x->board->drop_bad++; return; }
  } else if (frame == NULL && d->mode == WF_ETHERNET) {
    static const uint8_t unknown[6];
    int version = data[0] >> 4;
    memcpy(header, memcmp(d->mac, unknown, 6) == 0 ? broadcast : d->mac, 6);
    memcpy(header + 6, d->own_mac, 6);
    header[12] = version == 4 ? 0x08 : 0x86;
    header[13] = version == 4 ? 0x00 : 0xdd;
    header_length = ETHERNET_BYTES;
    if (version != 4 && version != 6) { x->board->drop_bad++; return; }
  }
  uint32_t ip_at = frame != NULL ? ip_offset(frame, length) : 0;
  uint32_t payload = length - (frame == NULL ? 0 : ip_at > 0 ? ip_at : ETHERNET_BYTES);
  if (x->mtu != 0 && payload > x->mtu) { too_big(w, x, data + length - payload, payload, frame); return; }
  if (!within_rate(w, x, length)) { x->board->drop_policer++; return; }
  if (x->dscp != 255 && (frame == NULL || ip_at > 0)) {
    uint8_t *copy = scratch(w);
    memcpy(copy, data, length);
    set_dscp(copy + ip_at, length - ip_at, x->dscp);
    data = copy;
  }
  x->packets++;
  x->bytes += length - at + header_length;
  if (put(w, x, d, header, header_length, data + at, length - at)) return;
  x->packets--;
  x->bytes -= length - at + header_length;
  x->full++;
}
