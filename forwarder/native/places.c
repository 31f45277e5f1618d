/* SPDX-License-Identifier: Apache-2.0
 * Network namespaces that are held open: a path may have ended by the time it is needed again. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "held.h"

int enter_place(struct place *place, const char *path) {
  *place = (struct place){.fd = -1};
  if (path[0] == 0) return 0;
  struct stat found;
  place->fd = open(path, O_RDONLY | O_CLOEXEC);
  if (place->fd < 0 || fstat(place->fd, &found) < 0) return -errno;
  place->dev = found.st_dev;
  place->ino = found.st_ino;
  struct stat own;
  if (stat("/proc/thread-self/ns/net", &own) == 0 && own.st_dev == found.st_dev && own.st_ino == found.st_ino) {
    /* Our own: entering it would need a right that an ordinary user has not. */
    close(place->fd);
    place->fd = -1;
    return 0;
  }
  snprintf(place->path, sizeof place->path, "/proc/self/fd/%d", place->fd);
  return 0;
}

void leave_place(struct place *place) {
  if (place->fd >= 0) close(place->fd);
  place->fd = -1;
}

bool same_place(const struct place *a, const struct place *b) { return a->dev == b->dev && a->ino == b->ino; }
