/* SPDX-License-Identifier: Apache-2.0
 * The smallest network function on memif: sends every packet back with its Ethernet addresses swapped.
 *
 *   cc -O2 -I forwarder/native -o reflect examples/memif-cnf/reflect.c forwarder/native/{memif-client,sockets,link,link-client,link-server}.c -pthread
 *   ./reflect SOCKET server       as an endpoint: SOCKET is `socketfile` of the connection's mechanism
 *   ./reflect SOCKET client       as a client
 */
#include <stdio.h>
#include <string.h>

#include "weft_memif.h"

int main(int count, char **arguments) {
  if (count < 3) return fprintf(stderr, "usage: reflect SOCKET server|client\n"), 2;
  struct wm_options options = {.path = arguments[1], .role = strcmp(arguments[2], "server") == 0 ? WM_SERVER : WM_CLIENT};
  struct wm *m;
  int error = wm_open(&options, &m);
  if (error < 0) return fprintf(stderr, "%s: %s\n", arguments[1], strerror(-error)), 1;
  for (;;) {
    wm_wait(m, -1);
    struct wm_packet in[64];
    uint32_t n = wm_receive(m, in, 64);
    for (uint32_t i = 0; i < n; i++) {
      uint32_t room;
      uint8_t *out = in[i].length < 14 ? NULL : wm_reserve(m, &room);
      if (out == NULL || room < in[i].length) continue;
      memcpy(out, in[i].data + 6, 6);
      memcpy(out + 6, in[i].data, 6);
      memcpy(out + 12, in[i].data + 12, in[i].length - 12);
      wm_filled(m, in[i].length);
    }
    wm_release(m);
    wm_send(m);
  }
}
