/* SPDX-License-Identifier: Apache-2.0
 * What the files that move packets know of each other. */
#ifndef WEFT_MOVING_H
#define WEFT_MOVING_H

#include "worker.h"

/* send.c: hands over a packet made of two parts. `data` must stay as it is until flush_out. False: no room. */
bool put(struct worker *w, struct direction *x, struct port *p, const uint8_t *header, uint32_t header_length, const uint8_t *data, uint32_t length);
void flush_out(struct worker *w);

/* settle.c: from here on whoever carries it out ends in the same state: a dead worker's burst is finished by the next one.
 * received_from: index of the receiving ring before the burst. */
void commit(struct worker *w, struct direction *x, uint16_t received_from);
/* Carries out what a dead worker was about to make true. */
void redo(struct direction *x);
/* Sends a packet of our own back to where the one that it answers came from. */
void send_back(struct worker *w, struct direction *x, const uint8_t *bytes, uint32_t length);

/* forward.c: everything that can happen to a packet. `data` stays valid until the next flush. */
void forward_one(struct worker *w, struct direction *x, const uint8_t *data, uint32_t length);
/* One of the buffers that packets are rebuilt in. */
uint8_t *scratch(struct worker *w);

/* from-memif.c: packets moved. */
uint32_t from_memif(struct worker *w, struct port *s);

#endif
