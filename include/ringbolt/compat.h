// SPDX-License-Identifier: Apache-2.0
// Constants of kernel interfaces that the oldest headers we build with (Debian 12) lack. Having the constant
// says nothing of the running kernel: that is found by probing.
#pragma once

#include <linux/tls.h>

// include/uapi/linux/io_uring.h
#ifndef IORING_FEAT_RECVSEND_BUNDLE
#define IORING_FEAT_RECVSEND_BUNDLE (1U << 14) // Linux 6.10
#endif

// include/linux/socket.h, include/uapi/linux/tcp.h
#ifndef SOL_TLS
#define SOL_TLS 282
#endif
#ifndef TCP_ULP
#define TCP_ULP 31
#endif
