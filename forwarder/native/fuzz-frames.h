/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEFT_FUZZ_FRAMES_H
#define WEFT_FUZZ_FRAMES_H

#include <stdint.h>

/* Hostile bytes through every function that looks into packets; `how` chooses among variants. */
void look_into(uint8_t *bytes, uint32_t n, uint32_t how);

#endif
