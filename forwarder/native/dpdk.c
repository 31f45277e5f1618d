/* SPDX-License-Identifier: Apache-2.0
 * Devices by DPDK's drivers: NICs by their PCI address, and virtual devices (net_af_packet, net_af_xdp, net_tap, net_null, net_ring,
 * net_vhost). One queue each way. Debian's build has room for 32 ports, so devices are for links between nodes, never for
 * workloads. EAL can be started once in the life of a process: who wants it anew starts another worker. */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_mbuf.h>

#include "device.h"

#define MEMORY_MB 256
#define RING 1024
#define MAX_WORDS 64
#define SMALLEST_POOL 4096

enum { HUGE_AUTO, HUGE_ALWAYS, HUGE_NEVER };

struct dpdk {
  uint16_t port;
  struct rte_mempool *pool;
  struct rte_mbuf *in[DEVICE_BURST], *out[DEVICE_BURST];
  uint16_t in_count, out_count;
  struct rte_device *device;
};

static bool started;
static uint32_t pool_mb;

static int say(char *why, size_t room, int error, const char *what, const char *log) {
  /* The last line that DPDK has logged says more than its number. */
  const char *line = log;
  for (const char *at = log; at != NULL && (at = strchr(at, '\n')) != NULL && at[1] != 0;) line = ++at;
  int n = snprintf(why, room, "%s: %s", what, strerror(-error));
  if (line != NULL && line[0] != 0 && n > 0 && (size_t)n < room) snprintf(why + n, room - (size_t)n, " (%.*s)", (int)strcspn(line, "\n"), line);
  return error;
}

static bool is_pci(const char *spec) {
  unsigned domain, bus, slot, function;
  char rest;
  return sscanf(spec, "%4x:%2x:%2x.%1x%c", &domain, &bus, &slot, &function, &rest) == 4 || sscanf(spec, "%4x:%2x:%2x.%1x,%c", &domain, &bus, &slot, &function, &rest) == 5;
}

static uint64_t free_huge_mb(void) {
  static const struct { const char *path; uint64_t mb; } sizes[] = {
    {"/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", 2},
    {"/sys/kernel/mm/hugepages/hugepages-1048576kB/free_hugepages", 1024},
  };
  uint64_t total = 0, count;
  for (int i = 0; i < 2; i++) {
    FILE *file = fopen(sizes[i].path, "r");
    if (file == NULL) continue;
    if (fscanf(file, "%" SCNu64, &count) == 1) total += count * sizes[i].mb;
    fclose(file);
  }
  return total;
}

static int first_cpu(void) {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) for (int i = 0; i < CPU_SETSIZE; i++) if (CPU_ISSET(i, &set)) return i;
  return 0;
}

/* On the thread that opens devices: EAL pins its caller. */
static int start_eal(const struct device_options *o, char *why, size_t room) {
  if (started) return 0;
  uint32_t memory = o->memory_mb ? o->memory_mb : MEMORY_MB;
  bool huge = o->huge == HUGE_ALWAYS || (o->huge == HUGE_AUTO && free_huge_mb() >= memory);
  char words[300], megabytes[16], core[16], device[300];
  char *arguments[MAX_WORDS];
  int count = 0;
  snprintf(megabytes, sizeof megabytes, "%u", memory);
  snprintf(core, sizeof core, "%d", first_cpu());
  snprintf(device, sizeof device, "%s", o->spec);
  arguments[count++] = (char *)"weft";
  arguments[count++] = (char *)"-l";
  arguments[count++] = core;
  arguments[count++] = (char *)"-m";
  arguments[count++] = megabytes;
  arguments[count++] = (char *)"--no-telemetry";
  /* Neither leaves a file behind; --in-memory and --no-huge exclude each other. */
  if (huge) arguments[count++] = (char *)"--in-memory";
  else {
    arguments[count++] = (char *)"--no-huge";
    arguments[count++] = (char *)"--no-shconf";
  }
  if (is_pci(o->spec)) {
    arguments[count++] = (char *)"-a";
    arguments[count++] = device;
  } else {
    arguments[count++] = (char *)"--no-pci";
  }
  snprintf(words, sizeof words, "%s", o->eal);
  for (char *rest = NULL, *word = strtok_r(words, " ", &rest); word != NULL && count < MAX_WORDS - 1; word = strtok_r(NULL, " ", &rest)) arguments[count++] = word;
  arguments[count] = NULL;
  char *log = NULL;
  size_t bytes = 0;
  FILE *stream = open_memstream(&log, &bytes);
  if (stream != NULL) rte_openlog_stream(stream);
  rte_log_set_global_level(RTE_LOG_WARNING);
  int result = rte_eal_init(count, arguments);
  int error = result < 0 ? (rte_errno ? -rte_errno : -EIO) : 0;
  rte_openlog_stream(NULL);
  if (stream != NULL) fclose(stream);
  if (error < 0) say(why, room, error, huge ? "DPDK does not start with huge pages" : "DPDK does not start without huge pages", log);
  free(log);
  started = error == 0;
  pool_mb = memory;
  return error;
}

static int set_up_port(struct dpdk *d, const struct device_options *o, struct device_facts *facts, char *why, size_t room) {
  struct rte_eth_dev_info info;
  struct rte_eth_conf conf;
  memset(&conf, 0, sizeof conf);
  int error = rte_eth_dev_info_get(d->port, &info);
  if (error < 0) return say(why, room, error, "ask the device what it can do", NULL);
  uint16_t mtu = 0;
  rte_eth_dev_get_mtu(d->port, &mtu);
  if (o->mtu_bytes != 0) mtu = (uint16_t)o->mtu_bytes;
  if (mtu == 0) mtu = 1500;
  conf.rxmode.mtu = mtu;
  error = rte_eth_dev_configure(d->port, 1, 1, &conf);
  if (error < 0 && o->mtu_bytes == 0) { /* some virtual devices take no MTU */
    memset(&conf, 0, sizeof conf);
    error = rte_eth_dev_configure(d->port, 1, 1, &conf);
  }
  if (error < 0) return say(why, room, error, "configure the device", NULL);
  if (o->mtu_bytes != 0 && (error = rte_eth_dev_set_mtu(d->port, mtu)) < 0 && error != -ENOTSUP) return say(why, room, error, "set the MTU of the device", NULL);
  uint16_t in = RING, out = RING;
  rte_eth_dev_adjust_nb_rx_tx_desc(d->port, &in, &out);
  char name[32];
  snprintf(name, sizeof name, "weft%u", d->port);
  uint32_t room_of_frame = mtu + 64u > 2048 ? (mtu + 64u + 63u) & ~63u : 2048;
  uint32_t count = (uint32_t)((uint64_t)pool_mb * 1024 * 1024 / 2 / (room_of_frame + 256));
  if (count > 16383) count = 16383;
  if (count < SMALLEST_POOL) count = SMALLEST_POOL;
  d->pool = rte_pktmbuf_pool_create(name, count, 256, 0, (uint16_t)(room_of_frame + RTE_PKTMBUF_HEADROOM), SOCKET_ID_ANY);
  if (d->pool == NULL) return say(why, room, rte_errno ? -rte_errno : -ENOMEM, "memory for frames", NULL);
  int socket = rte_eth_dev_socket_id(d->port);
  if ((error = rte_eth_rx_queue_setup(d->port, 0, in, (unsigned)socket, NULL, d->pool)) < 0) return say(why, room, error, "receiving queue of the device", NULL);
  if ((error = rte_eth_tx_queue_setup(d->port, 0, out, (unsigned)socket, NULL)) < 0) return say(why, room, error, "sending queue of the device", NULL);
  if ((error = rte_eth_dev_start(d->port)) < 0) return say(why, room, error, "start the device", NULL);
  rte_eth_allmulticast_enable(d->port); /* neighbour discovery; devices that know no filter refuse */
  struct rte_ether_addr mac;
  if ((error = rte_eth_macaddr_get(d->port, &mac)) < 0) return say(why, room, error, "hardware address of the device", NULL);
  memcpy(facts->mac, mac.addr_bytes, 6);
  facts->mtu_bytes = mtu;
  snprintf(facts->driver, sizeof facts->driver, "%s", info.driver_name);
  return 0;
}

static void close_device(void *device) {
  struct dpdk *d = device;
  for (uint16_t i = 0; i < d->in_count; i++) rte_pktmbuf_free(d->in[i]);
  for (uint16_t i = 0; i < d->out_count; i++) rte_pktmbuf_free(d->out[i]);
  if (rte_eth_dev_is_valid_port(d->port)) {
    rte_eth_dev_stop(d->port);
    rte_eth_dev_close(d->port);
  }
  if (d->device != NULL) rte_dev_remove(d->device);
  rte_mempool_free(d->pool);
  free(d);
}

static int open_device(const struct device_options *o, void **device, struct device_facts *facts, char *why, size_t room) {
  int error = start_eal(o, why, room);
  if (error < 0) return error;
  char name[128];
  snprintf(name, sizeof name, "%.*s", (int)strcspn(o->spec, ","), o->spec);
  uint16_t port;
  char *log = NULL;
  size_t bytes = 0;
  if (rte_eth_dev_get_port_by_name(name, &port) < 0) {
    FILE *stream = open_memstream(&log, &bytes);
    if (stream != NULL) rte_openlog_stream(stream);
    error = rte_dev_probe(o->spec);
    rte_openlog_stream(NULL);
    if (stream != NULL) fclose(stream);
    if (error == 0) error = rte_eth_dev_get_port_by_name(name, &port);
  }
  if (error < 0) {
    say(why, room, error, "no driver takes the device", log);
    free(log);
    return error;
  }
  free(log);
  struct dpdk *d = calloc(1, sizeof *d);
  if (d == NULL) return say(why, room, -ENOMEM, "open the device", NULL);
  d->port = port;
  struct rte_eth_dev_info info;
  if (rte_eth_dev_info_get(port, &info) == 0) d->device = info.device;
  error = set_up_port(d, o, facts, why, room);
  if (error < 0) close_device(d);
  else *device = d;
  return error;
}

/* Gives the thread a cache of free frames. */
static void enter(void) {
  if (rte_lcore_id() == LCORE_ID_ANY) rte_thread_register();
}

static uint32_t receive(void *device, const uint8_t **frames, uint32_t *lengths) {
  struct dpdk *d = device;
  for (uint16_t i = 0; i < d->in_count; i++) rte_pktmbuf_free(d->in[i]);
  d->in_count = rte_eth_rx_burst(d->port, 0, d->in, DEVICE_BURST);
  uint32_t count = 0;
  for (uint16_t i = 0; i < d->in_count; i++) {
    if (d->in[i]->nb_segs != 1) continue;
    frames[count] = rte_pktmbuf_mtod(d->in[i], const uint8_t *);
    lengths[count++] = rte_pktmbuf_data_len(d->in[i]);
  }
  return count;
}

static uint8_t *reserve(void *device, uint32_t length) {
  struct dpdk *d = device;
  if (d->out_count == DEVICE_BURST) return NULL;
  struct rte_mbuf *m = rte_pktmbuf_alloc(d->pool);
  if (m == NULL) return NULL;
  uint8_t *data = length > UINT16_MAX ? NULL : (uint8_t *)rte_pktmbuf_append(m, (uint16_t)length);
  if (data == NULL) rte_pktmbuf_free(m);
  else d->out[d->out_count++] = m;
  return data;
}

static uint32_t flush(void *device) {
  struct dpdk *d = device;
  uint16_t sent = 0, wanted = d->out_count;
  for (int tries = 0; sent < wanted && tries < 4; tries++) sent = (uint16_t)(sent + rte_eth_tx_burst(d->port, 0, d->out + sent, (uint16_t)(wanted - sent)));
  for (uint16_t i = sent; i < wanted; i++) rte_pktmbuf_free(d->out[i]);
  d->out_count = 0;
  return (uint32_t)(wanted - sent);
}

static bool has_carrier(void *device) {
  struct rte_eth_link link;
  return rte_eth_link_get_nowait(((struct dpdk *)device)->port, &link) == 0 && link.link_status == RTE_ETH_LINK_UP;
}

const struct device_driver *weft_device_driver(void) {
  static const struct device_driver driver = {DEVICE_ABI, open_device, close_device, enter, receive, reserve, flush, has_carrier};
  return &driver;
}
