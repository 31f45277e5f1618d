/* SPDX-License-Identifier: Apache-2.0
 * The program weft-fast: keeper, worker, and the tools that try a memif connection. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "keeper.h"
#include "worker.h"

/* Started by the keeper with the socket of orders as descriptor 3 and the board as 4. */
static int worker_main(void) {
  prctl(PR_SET_NAME, "weft-worker");
  signal(SIGINT, SIG_IGN); /* a terminal sends it to the whole group; the keeper decides */
  signal(SIGPIPE, SIG_IGN);
  uint8_t *board = mmap(NULL, board_size(), PROT_READ | PROT_WRITE, MAP_SHARED, 4, 0);
  if (board == MAP_FAILED) return 1;
  install_bus_guard();
  /* Without exit handlers: threads of a driver may still run. */
  _exit(worker_run(3, board));
}

static int usage(void) {
  fputs("usage: weft-fast keeper SOCKET [--ephemeral] | ping|blast|sink|echo OPTIONS…\n", stderr);
  return 2;
}

int main(int count, char **arguments) {
  if (count < 2) return usage();
  if (strcmp(arguments[1], "worker") == 0) return worker_main();
  if (strcmp(arguments[1], "keeper") == 0) {
    if (count < 3) return usage();
    char program[256];
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    if (n <= 0) return 1;
    program[n] = 0;
    prctl(PR_SET_NAME, "weft-keeper");
    return keeper_main(arguments[2], count > 3 && strcmp(arguments[3], "--ephemeral") == 0, program);
  }
  for (const char **name = (const char *[]){"light", "cycles", "relay", "datagrams", NULL}; *name != NULL; name++) if (strcmp(arguments[1], *name) == 0) return measure_main(count - 1, arguments + 1);
  return tool_main(count - 1, arguments + 1);
}
