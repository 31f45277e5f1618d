/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "ports.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "link.h"

#ifndef PACKET_IGNORE_OUTGOING
#define PACKET_IGNORE_OUTGOING 23
#endif
#define UDP_NO_CHECK6_RX 102

static int fail(int fd) {
  int error = -errno;
  if (fd >= 0) close(fd);
  return error;
}

/* Without the right to force it, as much as the limit of the machine allows. */
static void wide_buffers(int fd) {
  int bytes = 8 << 20;
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes) < 0) setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
  if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes) < 0) setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
}

static int packet_here(void *argument) {
  const struct wf_port *port = argument;
  unsigned index = if_nametoindex(port->path);
  if (index == 0) return -errno;
  int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  int yes = 1;
  setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &yes, sizeof yes);
  setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &yes, sizeof yes);
  wide_buffers(fd);
  struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = (int)index};
  if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0) return fail(fd);
  return fd;
}

static int tap_here(void *argument) {
  const struct wf_port *port = argument;
  if (strlen(port->path) >= IFNAMSIZ) return -ENAMETOOLONG;
  if (if_nametoindex(port->path) != 0) return -EEXIST;
  int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return -errno;
  struct ifreq request;
  memset(&request, 0, sizeof request);
  memcpy(request.ifr_name, port->path, strlen(port->path));
  request.ifr_flags = (short)((port->mode == WF_IP ? IFF_TUN : IFF_TAP) | IFF_NO_PI);
  if (ioctl(fd, TUNSETIFF, &request) < 0) return fail(fd);
  int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (control >= 0) {
    request.ifr_flags = 0;
    if (ioctl(control, SIOCGIFFLAGS, &request) == 0) {
      request.ifr_flags |= IFF_UP;
      ioctl(control, SIOCSIFFLAGS, &request);
    }
    close(control);
  }
  return fd;
}

static int udp_here(void *argument) {
  const struct wf_port *port = argument;
  bool six = port->family == 6;
  int fd = socket(six ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  int yes = 1, dont = IP_PMTUDISC_DONT;
  wide_buffers(fd);
  int bound;
  if (six) {
    struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons(port->udp_port)};
    memcpy(&address.sin6_addr, port->local, 16);
    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &yes, sizeof yes);
    setsockopt(fd, IPPROTO_UDP, UDP_NO_CHECK6_RX, &yes, sizeof yes);
    bound = bind(fd, (struct sockaddr *)&address, sizeof address);
  } else {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port->udp_port)};
    memcpy(&address.sin_addr, port->local, 4);
    setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &dont, sizeof dont);
    /* RFC 7348 section 5: the outer checksum should be zero over IPv4. */
    setsockopt(fd, SOL_SOCKET, SO_NO_CHECK, &yes, sizeof yes);
    bound = bind(fd, (struct sockaddr *)&address, sizeof address);
  }
  return bound < 0 ? fail(fd) : fd;
}

int open_packet_port(const struct wf_port *port) { return in_netns(port->netns, packet_here, (void *)port); }
int open_tap_port(const struct wf_port *port) { return in_netns(port->netns, tap_here, (void *)port); }
int open_underlay(const struct wf_port *port) { return in_netns(port->netns, udp_here, (void *)port); }
