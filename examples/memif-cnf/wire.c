/* SPDX-License-Identifier: Apache-2.0
 * The smallest function in the middle of a chain on memif: what comes in at one side goes out at the other, both ways.
 * A filter, a counter or a translator goes where the packet is copied.
 *
 *   cc -O2 -I forwarder/native -o wire examples/memif-cnf/wire.c forwarder/native/{memif-client,sockets,link,link-client,link-server}.c -pthread
 *   ./wire IN OUT [ip]     `inSocket` and `outSocket` of the wire that passthrough() of the SDK tells of
 */
#include <stdio.h>
#include <string.h>

#include "weft_memif.h"

static void move(struct wm *from, struct wm *to) {
  struct wm_packet in[64];
  uint32_t n = wm_receive(from, in, 64);
  for (uint32_t i = 0; i < n; i++) {
    uint32_t room, length = in[i].length;
    uint8_t *out = wm_reserve(to, &room);
    if (out == NULL || room < length) continue; /* the other side is down or full: lost, as on any wire */
    memcpy(out, in[i].data, length);
    wm_filled(to, length);
  }
  wm_release(from);
  if (n > 0) wm_send(to);
}

int main(int count, char **arguments) {
  if (count < 3) return fprintf(stderr, "usage: wire IN OUT [ip]\n"), 2;
  uint32_t mode = count > 3 && strcmp(arguments[3], "ip") == 0 ? WM_IP : WM_ETHERNET;
  struct wm *sides[2];
  for (int i = 0; i < 2; i++) {
    struct wm_options options = {.path = arguments[i + 1], .role = i == 0 ? WM_SERVER : WM_CLIENT, .mode = mode};
    int error = wm_open(&options, &sides[i]);
    if (error < 0) return fprintf(stderr, "%s: %s\n", arguments[i + 1], strerror(-error)), 1;
  }
  for (;;) {
    if (wm_wait_any(sides, 2, -1) < 0) return 1;
    move(sides[0], sides[1]);
    move(sides[1], sides[0]);
  }
}
