/* SPDX-License-Identifier: Apache-2.0
 *
 * weft_memif — one memif interface for a program that makes or takes packets itself (a network function). Either role,
 * Ethernet frames or IP packets, no threads, no callbacks: the program polls, or sleeps on the two descriptors.
 *
 *   struct wm_options options = {.path = "@/tmp/memif/…/memif.socket", .role = WM_CLIENT};
 *   struct wm *m;
 *   if (wm_open(&options, &m) < 0) …                    // -errno; wm_why(m) says more
 *   for (;;) {
 *     wm_wait(m, -1);                                   // packets, or the link went up or down
 *     struct wm_packet in[64];
 *     uint32_t n = wm_receive(m, in, 64);               // point into shared memory: the other side may still write there
 *     …
 *     wm_release(m);                                    // gives the buffers back
 *   }
 *
 * A link that ends comes up again by itself as soon as the other side is back.
 */
#ifndef WEFT_MEMIF_CLIENT_H
#define WEFT_MEMIF_CLIENT_H

#include <stdint.h>

enum { WM_SERVER = 0, WM_CLIENT = 1 };
enum { WM_ETHERNET = 0, WM_IP = 1 };

struct wm;

struct wm_options {
  const char *path;      /* "@name" is abstract */
  const char *netns;     /* path of a network namespace in which an abstract name is meant; NULL = own */
  uint32_t role, mode;
  uint32_t log2_ring;    /* client: 0 = 10 */
  uint32_t buffer_bytes; /* client: 0 = 2048 */
};

struct wm_packet { uint8_t *data; uint32_t length; };

/* Listens or begins to connect; does not wait for the other side. */
int wm_open(const struct wm_options *options, struct wm **out);
void wm_close(struct wm *m);
/* Whether packets can flow. */
int wm_is_up(const struct wm *m);
/* Sleeps until there are packets or the link has changed; milliseconds, -1 = for ever. 1: something to receive, 0: not, -errno. */
int wm_wait(struct wm *m, int timeout_ms);
/* The same for up to 8 interfaces at once, for a function that stands between them. 1: one of them has something to receive. */
int wm_wait_any(struct wm *const *all, uint32_t count, int timeout_ms);
/* Does what the link needs (handshake, reconnect) without sleeping. wm_wait does it too. */
void wm_tick(struct wm *m);
/* Packets that have come, at most `room`. They are valid until wm_release. Chained ones are dropped. */
uint32_t wm_receive(struct wm *m, struct wm_packet *packets, uint32_t room);
void wm_release(struct wm *m);
/* Room for a packet of up to *capacity bytes; NULL: the ring is full. */
uint8_t *wm_reserve(struct wm *m, uint32_t *capacity);
/* The packet in the room reserved last has that many bytes. */
void wm_filled(struct wm *m, uint32_t length);
/* Tells the other side of all that was filled. */
void wm_send(struct wm *m);
/* Packets sent that the other side has not taken yet. */
uint32_t wm_unsent(const struct wm *m);
/* Why the last link or attempt has ended. */
const char *wm_why(const struct wm *m);

#endif
