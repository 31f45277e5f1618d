/* SPDX-License-Identifier: Apache-2.0
 * The control channel of one memif peer, both roles: who says what next, and what the peer has given us. No packets here. */
#ifndef WEFT_LINK_H
#define WEFT_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "memif.h"

enum { RING_C2S = 0, RING_S2C = 1 };
enum link_state { LINK_CLOSED, LINK_HELLO, LINK_SETUP, LINK_UP };

struct link_region { int fd; uint64_t bytes; };
struct link_ring { int fd; bool present; uint16_t region; uint32_t offset; uint8_t log2; };

struct link {
  int fd;
  uint32_t role, mode, id;
  enum link_state state;
  unsigned step;               /* client: messages that have been sent; the server wants one at a time */
  uint32_t log2_ring, buffer_bytes;
  unsigned regions;
  struct link_region region[MEMIF_MAX_REGIONS];
  struct link_ring ring[2];
  char peer[33];
  char why[96];                /* why it was refused or has ended */
};

/* A listening socket; "@name" is abstract. A stale file at the path is removed. Result: descriptor or -errno. */
int link_listen(const char *path, const char *netns);
/* A connected socket; -EAGAIN, -ECONNREFUSED, -ENOENT: nobody listens yet. */
int link_connect(const char *path, const char *netns);
/* Takes over an accepted socket and says hello. 0 or -errno. */
int link_begin_server(struct link *l, int fd, uint32_t mode);
/* Takes over a connected socket, and makes the memory: two rings and their buffers, sealed against shrinking. */
int link_begin_client(struct link *l, int fd, uint32_t mode, uint32_t id, uint32_t log2_ring, uint32_t buffer_bytes);
/* Reads what there is. 1: the link has come up; 0: go on waiting; -1: it has ended, `why` says so; close it. */
int link_readable(struct link *l);
/* What is said next, and what is made of what was heard: 1 up, 0 go on, -1 ended. Private to link*.c. */
int server_hears(struct link *l, const struct memif_message *m, int *fd);
int client_hears(struct link *l, const struct memif_message *m);
int link_say(struct link *l, struct memif_message *message, int fd);
int link_refuse(struct link *l, const char *why);
void link_forget(struct link *l);
/* Tells the peer and closes every descriptor. */
void link_close(struct link *l, const char *why);
/* Runs `make` inside the namespace, on a thread of its own, so that no other thread is ever moved. */
int in_netns(const char *netns, int (*make)(void *), void *argument);

#endif
