/* SPDX-License-Identifier: Apache-2.0
 * Packets on their way out, to any kind of port. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/uio.h>

#include "devices.h"
#include "moving.h"
#include "ring.h"

/* The last ones are lost when the driver has no room. */
static void flush_device(struct worker *w, struct device *d) {
  uint32_t lost = d->driver->flush(d->handle);
  struct direction *x = w->out_for;
  for (uint32_t i = w->out_count - lost; i < w->out_count && x != NULL; i++) {
    x->packets--;
    x->bytes -= w->out_lengths[i];
    x->full++;
  }
  d->board->tx += w->out_count - lost;
  d->board->tx_full += lost;
  w->out_count = 0;
}

void flush_out(struct worker *w) {
  if (w->out_count == 0) return;
  if (w->out->device != NULL) {
    flush_device(w, w->out->device);
    return;
  }
  uint32_t done = 0, stuck = 0;
  while (done < w->out_count) {
    int n = sendmmsg(w->out->fd, w->out_messages + done, w->out_count - done, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n > 0) { done += (uint32_t)n; continue; }
    if (errno == EINTR) continue;
    /* The first of the rest was refused; those behind it may still go, unless the way is full. */
    struct direction *x = w->out_for;
    uint32_t lost = errno == EAGAIN || errno == ENOBUFS || ++stuck > 8 ? w->out_count - done : 1;
    for (uint32_t i = 0; i < lost && x != NULL; i++) {
      x->packets--;
      x->bytes -= w->out_lengths[done + i];
      x->full++;
    }
    done += lost;
  }
  w->out_count = 0;
}

static bool put_memif(struct worker *w, struct port *p, const uint8_t *header, uint32_t header_length, const uint8_t *data, uint32_t length) {
  uint32_t free = room(w, p), total = header_length + length, done = 0;
  uint16_t first = p->tx.index;
  do {
    uint32_t capacity;
    uint8_t *to;
    if (free-- == 0 || (to = slot_buffer(p, p->tx.index, &capacity)) == NULL || capacity == 0) { p->tx.index = first; return false; }
    uint32_t n = total - done < capacity ? total - done : capacity, at = 0;
    if (done < header_length) {
      at = header_length - done < n ? header_length - done : n;
      memcpy(to, header + done, at);
    }
    if (at < n) memcpy(to + at, data + (done + at - header_length), n - at);
    done += n;
    fill_descriptor(p, p->tx.index++, n, done < total ? MEMIF_CHAINED : 0);
  } while (done < total);
  return true;
}

/* Straight into the memory of the driver. */
static bool put_device(struct worker *w, struct port *p, const uint8_t *header, uint32_t header_length, const uint8_t *data, uint32_t length) {
  uint32_t total = header_length + length;
  bool tunnel = p->kind == WF_PORT_VXLAN;
  uint8_t *to;
  if (tunnel) to = reserve_tunnelled(p, total);
  else to = is_ready(p->device) ? p->device->driver->reserve(p->device->handle, total) : NULL;
  if (to == NULL) return false;
  memcpy(to, header, header_length);
  memcpy(to + header_length, data, length);
  if (tunnel) finish_tunnelled(p, to, total);
  w->out_lengths[w->out_count++] = length;
  return true;
}

/* Hands over a packet made of two parts. `data` must stay as it is until flush_out. */
bool put(struct worker *w, struct direction *x, struct port *p, const uint8_t *header, uint32_t header_length, const uint8_t *data, uint32_t length) {
  if (p->kind == WF_PORT_MEMIF) return put_memif(w, p, header, header_length, data, length);
  if (p->kind == WF_PORT_TAP) {
    struct iovec parts[2] = {{(void *)header, header_length}, {(void *)data, length}};
    return writev(p->fd, parts, 2) >= 0;
  }
  struct port *through = p->kind == WF_PORT_VXLAN ? p->underlay : p;
  if (w->out_count == BURST || w->out != through || w->out_for != x) flush_out(w);
  w->out = through;
  w->out_for = x;
  if (through->device != NULL) return put_device(w, p, header, header_length, data, length);
  uint32_t i = w->out_count++, at = 0;
  uint8_t *before = w->out_headers[i];
  struct msghdr *m = &w->out_messages[i].msg_hdr;
  if (p->kind == WF_PORT_VXLAN) { /* RFC 7348 section 5 */
    before[0] = 0x08;
    before[1] = before[2] = before[3] = before[7] = 0;
    before[4] = (uint8_t)(p->vni >> 16);
    before[5] = (uint8_t)(p->vni >> 8);
    before[6] = (uint8_t)p->vni;
    at = 8;
    m->msg_name = &p->remote;
    m->msg_namelen = p->family == 6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
  } else {
    m->msg_name = NULL;
    m->msg_namelen = 0;
  }
  memcpy(before + at, header, header_length);
  w->out_parts[i][0] = (struct iovec){before, at + header_length};
  w->out_parts[i][1] = (struct iovec){(void *)data, length};
  m->msg_iov = w->out_parts[i];
  m->msg_iovlen = 2;
  w->out_lengths[i] = length;
  return true;
}
