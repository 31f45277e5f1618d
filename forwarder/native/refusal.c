/* SPDX-License-Identifier: Apache-2.0
 * Why a call has failed, for wf_error. */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "held.h"

static __thread char error_text[256];

int refuse(int error, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  int n = vsnprintf(error_text, sizeof error_text, format, arguments);
  va_end(arguments);
  if (n >= 0 && n < (int)sizeof error_text - 2) snprintf(error_text + n, sizeof error_text - (size_t)n, ": %s", strerror(-error));
  return error;
}

const char *wf_error(void) { return error_text; }

