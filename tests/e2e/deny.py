# SPDX-License-Identifier: Apache-2.0
"""Runs a program where system calls are refused, as in a container whose own filter does not know them.

    deny.py CALL[:ARGUMENT=VALUE] … -- PROGRAM [ARGUMENT…]         each gives EPERM
"""
import ctypes
import errno
import os
import sys

ALLOW, REFUSE, EQUAL = 0x7fff0000, 0x00050000 | errno.EPERM, 4


class Comparison(ctypes.Structure):
    """struct scmp_arg_cmp"""
    _fields_ = [("argument", ctypes.c_uint), ("operator", ctypes.c_int), ("value", ctypes.c_uint64), ("more", ctypes.c_uint64)]


def main():
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p
    end = sys.argv.index("--")
    rules = ctypes.c_void_p(library.seccomp_init(ALLOW))
    for text in sys.argv[1:end]:
        name, _, condition = text.partition(":")
        call = library.seccomp_syscall_resolve_name(name.encode())
        comparisons = (Comparison * 1)()
        if condition:
            argument, _, value = condition.partition("=")
            comparisons[0] = Comparison(int(argument), EQUAL, int(value), 0)
        error = library.seccomp_rule_add_array(rules, ctypes.c_uint32(REFUSE), call, 1 if condition else 0, comparisons)
        if error < 0:
            raise OSError(-error, text)
    error = library.seccomp_load(rules)
    if error < 0:
        raise OSError(-error, "seccomp_load")
    os.execvp(sys.argv[end + 1], sys.argv[end + 1:])


if __name__ == "__main__":
    main()
