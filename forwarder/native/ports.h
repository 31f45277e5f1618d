/* SPDX-License-Identifier: Apache-2.0
 * Descriptors of the kernel that ports are made of. Every result is a descriptor or -errno. */
#ifndef WEFT_PORTS_H
#define WEFT_PORTS_H

#include "weft_fast.h"

int open_packet_port(const struct wf_port *port);
int open_tap_port(const struct wf_port *port);
int open_underlay(const struct wf_port *port);

#endif
