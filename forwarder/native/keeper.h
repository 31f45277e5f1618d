/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEFT_KEEPER_H
#define WEFT_KEEPER_H

#include <stdbool.h>

/* Serves wf_* calls on a unix socket until told to end; ephemeral: also when the last client has gone. Result: exit code. */
int keeper_main(const char *path, bool ephemeral, const char *program);
/* The commands that try a connection: ping, blast, sink, echo. Result: exit code. */
int tool_main(int count, char **arguments);
/* The commands that figures are measured with: light, cycles, relay. */
int measure_main(int count, char **arguments);

#endif
