// SPDX-License-Identifier: Apache-2.0
// Static trace points (USDT) of the provider `ringbolt`: bpftrace, perf, SystemTap and gdb can stop or count at them while the program
// runs (docs/tracing.md). One that nobody watches is a `nop`, and its arguments are values that are at hand anyway. The format is that of
// <sys/sdt.h>; built without that header, there are none.
#pragma once

#ifdef RINGBOLT_SDT
#include <sys/sdt.h>
#else
#define DTRACE_PROBE3(provider, name, a, b, c)       ((void)0)
#define DTRACE_PROBE4(provider, name, a, b, c, d)    ((void)0)
#define DTRACE_PROBE5(provider, name, a, b, c, d, e) ((void)0)
#endif

// `id` is the connection's in this worker, as in its line of the log. Times are nanoseconds. They are taken once for each round of the
// worker's loop.

// A client was accepted. client: its address as text, as the socket has it.
#define trace_accept(id, fd, client) DTRACE_PROBE3(ringbolt, accept, id, fd, client)
// The client's handshake is over (for a stream that is passed through or has no TLS: where it goes is known). version, suite: text,
// NULL when TLS is not ours; resumed: 0 or 1; ns: since it was accepted.
#define trace_handshake(id, version, suite, resumed, ns)                                                     \
    DTRACE_PROBE5(ringbolt, handshake, id, version, suite, resumed, ns)
// A direction of an endpoint was handed to the kernel. is_client: 1, or 0 for the server's side; receives: 1, or 0 for transmit; error: 0, or
// -errno with which the kernel refused.
#define trace_offload(id, is_client, receives, error)                                                        \
    DTRACE_PROBE4(ringbolt, offload, id, is_client, receives, error)
// The first bytes have gone from the server to the client. ns: since the client was accepted; bytes: how many.
#define trace_first_byte(id, ns, bytes) DTRACE_PROBE3(ringbolt, first_byte, id, ns, bytes)
// It is over. how: the word of the log, text; bytes_in: from the client, bytes_out: to it; ns: since it was accepted.
#define trace_end(id, how, bytes_in, bytes_out, ns)                                                          \
    DTRACE_PROBE5(ringbolt, end, id, how, bytes_in, bytes_out, ns)
