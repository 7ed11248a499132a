// SPDX-License-Identifier: Apache-2.0
// A question on the terminal whose answer is not shown.
#pragma once

#include <stddef.h>

// Asks on the controlling terminal, with echo off. text has `size` bytes; the answer ends in a zero. 0, -ENXIO without a terminal,
// -ECANCELED at the end of input or when a signal ended the question and the process goes on, -EMSGSIZE for too long an
// answer, or -errno. A signal that ends or stops the process does so once the terminal echoes again.
int terminal_question(const char *question, char *text, size_t size);
