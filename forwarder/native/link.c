/* SPDX-License-Identifier: Apache-2.0
 * What both roles of the control channel share: a message at a time, with at most one descriptor. */
#define _GNU_SOURCE
#include "link.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "weft_fast.h"

int link_say(struct link *l, struct memif_message *message, int fd) {
  struct iovec part = {message, sizeof *message};
  union { char bytes[CMSG_SPACE(sizeof(int))]; struct cmsghdr aligned; } control;
  struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
  if (fd >= 0) {
    memset(&control, 0, sizeof control);
    header.msg_control = control.bytes;
    header.msg_controllen = sizeof control.bytes;
    struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(rights), &fd, sizeof fd);
  }
  return sendmsg(l->fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)sizeof *message ? 0 : -1;
}

int link_refuse(struct link *l, const char *why) {
  snprintf(l->why, sizeof l->why, "%s", why);
  return -1;
}

void link_forget(struct link *l) {
  memset(l, 0, sizeof *l);
  l->fd = -1;
  for (int i = 0; i < MEMIF_MAX_REGIONS; i++) l->region[i].fd = -1;
  l->ring[0].fd = l->ring[1].fd = -1;
}

int link_readable(struct link *l) {
  for (int messages = 0; messages < 64; messages++) {
    struct memif_message m;
    struct iovec part = {&m, sizeof m};
    union { char bytes[CMSG_SPACE(sizeof(int) * 4)]; struct cmsghdr aligned; } control;
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    ssize_t n = recvmsg(l->fd, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
    int fd = -1;
    for (struct cmsghdr *c = n < 0 ? NULL : CMSG_FIRSTHDR(&header); c != NULL; c = CMSG_NXTHDR(&header, c)) {
      if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
      for (size_t i = 0; CMSG_LEN((i + 1) * sizeof(int)) <= c->cmsg_len; i++) {
        int got;
        memcpy(&got, CMSG_DATA(c) + i * sizeof got, sizeof got);
        if (fd < 0) fd = got;
        else close(got);
      }
    }
    int result;
    if (n <= 0) result = link_refuse(l, "the peer is gone");
    else if (n != (ssize_t)sizeof m) result = link_refuse(l, "a message has not 128 bytes");
    else if (l->state == LINK_UP && m.type != MEMIF_DISCONNECT) result = m.type == MEMIF_ACK ? 0 : link_refuse(l, "message after connect");
    else result = l->role == WF_SERVER ? server_hears(l, &m, &fd) : client_hears(l, &m);
    if (fd >= 0) close(fd);
    if (result != 0) return result;
  }
  return 0;
}

void link_close(struct link *l, const char *why) {
  if (l->fd >= 0) {
    struct memif_message m = {.type = MEMIF_DISCONNECT};
    if (why != NULL) {
      snprintf((char *)m.disconnect.text, sizeof m.disconnect.text, "%s", why);
      link_say(l, &m, -1);
    }
    shutdown(l->fd, SHUT_RDWR);
    close(l->fd);
  }
  for (int i = 0; i < MEMIF_MAX_REGIONS; i++) if (l->region[i].fd >= 0) close(l->region[i].fd);
  for (int i = 0; i < 2; i++) if (l->ring[i].fd >= 0) close(l->ring[i].fd);
  link_forget(l);
}
