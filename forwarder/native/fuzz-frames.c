/* SPDX-License-Identifier: Apache-2.0
 * Hostile frames: for weft-fuzz, and as the target of libFuzzer where clang is there. */
#define _GNU_SOURCE
#include "fuzz-frames.h"

#include <stdlib.h>
#include <string.h>

#include "devices.h"
#include "packet.h"

/* Devices without a driver, whose frames end here: as far as a tunnel that nobody has. */
static void hear(const uint8_t *frame, uint32_t n, uint32_t which) {
  static struct worker *w;
  static struct device devices[2];
  static struct wf_board_device board;
  if (w == NULL) {
    w = calloc(1, sizeof *w);
    w->vnis = calloc(4 * WF_MAX_PORTS, sizeof *w->vnis);
    for (int i = 0; i < 2; i++) {
      devices[i].spec.family = i == 0 ? 4 : 6;
      devices[i].spec.prefix_bits = 24;
      devices[i].board = &board;
      devices[i].used = true;
      want_neighbour(&devices[i], (const uint8_t[16]){1, 1, 1, 1});
      w->underlays[i] = (struct port){.kind = KIND_UNDERLAY, .up = true, .users = 4789, .device = &devices[i]};
    }
  }
  const uint8_t *data = frame;
  uint32_t length = n;
  const void *sender;
  struct port *u = hear_frame(w, &devices[which & 1], &data, &length, &sender);
  if (u != NULL) from_tunnel(w, u, sender, &data, &length);
}

void look_into(uint8_t *bytes, uint32_t n, uint32_t how) {
  uint8_t answer[ETHERNET_BYTES + ANSWER_BYTES], mac[6] = {2, 0, 0, 0, 0, 1};
  ip_offset(bytes, n);
  answer_too_big(bytes, n, 1280 + (how >> 8) % 300, answer);
  answer_neighbour(bytes, n, mac, answer);
  set_dscp(bytes, n, (how >> 2) & 63);
  hear(bytes, n, how);
  echo_reply(bytes, n, how & 2);
}

#ifdef WEFT_LIBFUZZER
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 4 || size > 2048) return 0;
  uint32_t how, n = (uint32_t)size - 4;
  memcpy(&how, data, 4);
  uint8_t *exact = malloc(n ? n : 1);
  memcpy(exact, data + 4, n);
  look_into(exact, n, how);
  free(exact);
  return 0;
}
#endif
