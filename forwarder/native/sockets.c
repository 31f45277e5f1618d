/* SPDX-License-Identifier: Apache-2.0
 * Unix sockets of memif, in any network namespace. */
#define _GNU_SOURCE
#include "link.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

struct netns_job { const char *path; int (*make)(void *); void *argument; int result; };

static void *netns_thread(void *argument) {
  struct netns_job *job = argument;
  int fd = open(job->path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) { job->result = -errno; return NULL; }
  job->result = setns(fd, CLONE_NEWNET) < 0 ? -errno : job->make(job->argument);
  close(fd);
  return NULL;
}

int in_netns(const char *netns, int (*make)(void *), void *argument) {
  if (netns == NULL || netns[0] == 0) return make(argument);
  struct netns_job job = {netns, make, argument, 0};
  pthread_t thread;
  int error = pthread_create(&thread, NULL, netns_thread, &job);
  if (error) return -error;
  pthread_join(thread, NULL);
  return job.result;
}

static int socket_address(const char *path, struct sockaddr_un *address, socklen_t *length) {
  size_t n = strlen(path);
  if (n == 0 || n >= sizeof address->sun_path) return -ENAMETOOLONG;
  memset(address, 0, sizeof *address);
  address->sun_family = AF_UNIX;
  memcpy(address->sun_path, path, n);
  *length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + 1);
  if (path[0] == '@') { address->sun_path[0] = 0; (*length)--; }
  return 0;
}

static int listen_here(void *argument) {
  const char *path = argument;
  struct sockaddr_un address;
  socklen_t length;
  int error = socket_address(path, &address, &length);
  if (error) return error;
  int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -errno;
  if (path[0] != '@') {
    struct stat found;
    if (lstat(path, &found) == 0 && S_ISSOCK(found.st_mode)) {
      /* Stale if nobody answers; a living one is somebody else's. */
      int probe = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
      int answer = probe < 0 ? -1 : connect(probe, (struct sockaddr *)&address, length);
      bool stale = answer < 0 && errno == ECONNREFUSED;
      if (probe >= 0) close(probe);
      if (stale) unlink(path);
    }
  }
  if (bind(fd, (struct sockaddr *)&address, length) < 0 || listen(fd, 64) < 0) {
    error = -errno;
    close(fd);
    return error;
  }
  return fd;
}

static int connect_here(void *argument) {
  struct sockaddr_un address;
  socklen_t length;
  int error = socket_address(argument, &address, &length);
  if (error) return error;
  int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -errno;
  if (connect(fd, (struct sockaddr *)&address, length) < 0) {
    error = -errno;
    close(fd);
    return error;
  }
  return fd;
}

int link_listen(const char *path, const char *netns) { return in_netns(netns, listen_here, (void *)path); }
int link_connect(const char *path, const char *netns) { return in_netns(netns, connect_here, (void *)path); }
