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

// include/uapi/linux/memfd.h, include/uapi/linux/fcntl.h
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U // Linux 6.3
#endif
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010 // Linux 5.1
#endif

// Whether this is built with AddressSanitizer or the like, which has needs of its own: terabytes of addresses, /proc, threads.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define IS_SANITIZED 1
#endif
#endif
#ifndef IS_SANITIZED
#define IS_SANITIZED 0
#endif
