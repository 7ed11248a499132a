// SPDX-License-Identifier: Apache-2.0
// `ringbolt pki`: a certificate authority for tests and private networks. Everything stays inside this room: what the
// commands are is in docs/pki.md, what they print in its help texts.
#pragma once

#include <stdbool.h>
#include <stddef.h>

// Runs one command. argv[0] is "pki", argv[1] the command. Results go to standard output, which is not flushed
// here, complaints to standard error; the terminal is asked for a passphrase where the command line says so. Returns the
// exit status: 0 success, 1 it failed, 2 wrong usage, 3 the YAML file or a file that it names is bad. For a
// process that does nothing else: it turns core dumps off.
int pki_main(int argc, char **argv);

// For whoever describes the command line: the commands by number, and a command's options; NULL behind the last.
const char *pki_command(size_t index);
const char *pki_option(size_t command, size_t index, bool *ret_takes_argument);
