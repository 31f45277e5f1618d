/* SPDX-License-Identifier: Apache-2.0
 * Two memif peers that share their rings: their control messages are handed on with their descriptors, packets never pass here. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "held.h"

void part_pair(wf *w, uint32_t slot) {
  struct held_port *p = &w->ports[slot];
  if (p->near >= 0) { shutdown(p->near, SHUT_RDWR); close(p->near); }
  if (p->far >= 0) { shutdown(p->far, SHUT_RDWR); close(p->far); }
  p->near = p->far = -1;
  if (board_port(w, slot)->link == WF_LINK_UP) board_port(w, slot)->breaks++;
  __atomic_store_n(&board_port(w, slot)->link, WF_LINK_DOWN, __ATOMIC_RELEASE);
  signal_event(w);
}

void accept_pair(wf *w, uint32_t slot) {
  struct held_port *p = &w->ports[slot];
  int near = accept4(p->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (near < 0) { pause_without_descriptors(); return; }
  int far = p->near >= 0 ? -1 : link_connect(p->spec.peer_path, p->peer_netns.path);
  if (far < 0) { close(near); return; } /* taken, or the server is not there yet: the client comes again */
  p->near = near;
  p->far = far;
  watch(w, near, WATCH_NEAR, slot);
  watch(w, far, WATCH_FAR, slot);
}

/* Hands one message on, with its descriptor. */
void relay(wf *w, uint32_t slot, int from, int to) {
  if (from < 0 || to < 0) return;
  struct memif_message m;
  struct iovec part = {&m, sizeof m};
  union { char bytes[CMSG_SPACE(sizeof(int) * 4)]; struct cmsghdr aligned; } control;
  struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
  ssize_t n = recvmsg(from, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  bool good = n == (ssize_t)sizeof m && !(header.msg_flags & (MSG_TRUNC | MSG_CTRUNC));
  if (good) {
    header.msg_flags = 0;
    if (header.msg_controllen == 0) header.msg_control = NULL;
    good = sendmsg(to, &header, MSG_DONTWAIT | MSG_NOSIGNAL) == n;
  }
  for (struct cmsghdr *c = n < 0 ? NULL : CMSG_FIRSTHDR(&header); c != NULL; c = CMSG_NXTHDR(&header, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    for (size_t i = 0; CMSG_LEN((i + 1) * sizeof(int)) <= c->cmsg_len; i++) {
      int fd;
      memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
      close(fd);
    }
  }
  if (!good) { part_pair(w, slot); return; }
  if (m.type == MEMIF_CONNECTED) {
    board_port(w, slot)->epoch++;
    __atomic_store_n(&board_port(w, slot)->link, WF_LINK_UP, __ATOMIC_RELEASE);
    signal_event(w);
  }
}
