# SPDX-License-Identifier: Apache-2.0
"""Puts a seccomp profile in the form that Docker and Kubernetes take into force, by libseccomp, as container runtimes do it.

    seccomp.py PROFILE COMMAND …        executes the command under it
"""
import ctypes
import json
import os
import sys

ACTIONS = {"SCMP_ACT_ALLOW": 0x7FFF0000, "SCMP_ACT_ERRNO": 0x00050000}
COMPARISONS = {"SCMP_CMP_NE": 1, "SCMP_CMP_EQ": 4, "SCMP_CMP_MASKED_EQ": 7}
PR_SET_NO_NEW_PRIVS = 38


class Comparison(ctypes.Structure):
    _fields_ = [("index", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


def library():
    """OSError where there is none."""
    found = ctypes.CDLL("libseccomp.so.2")
    found.seccomp_init.restype = ctypes.c_void_p
    found.seccomp_init.argtypes = [ctypes.c_uint32]
    found.seccomp_load.argtypes = found.seccomp_release.argtypes = [ctypes.c_void_p]
    found.seccomp_rule_add_array.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p]
    return found


def applies(entry):
    """For a process without capabilities on this kind of machine."""
    includes, excludes = entry.get("includes") or {}, entry.get("excludes") or {}
    return (not includes.get("caps") and (not includes.get("arches") or "amd64" in includes["arches"]) and
            "amd64" not in excludes.get("arches", []))


def comparison(argument):
    value, second = argument["value"], argument.get("valueTwo", 0)
    return Comparison(argument["index"], COMPARISONS[argument["op"]], value, second)


def action(entry, default):
    return ACTIONS[entry["action"]] | (entry.get("errnoRet", default) if entry["action"] == "SCMP_ACT_ERRNO" else 0)


class Filter:
    """Made where the library can be found, put into force anywhere."""

    def __init__(self, profile):
        self.library = library()
        errno = profile.get("defaultErrnoRet", 1)
        default = ACTIONS[profile["defaultAction"]] | errno
        self.context = self.library.seccomp_init(default)
        for entry in filter(applies, profile["syscalls"]):
            arguments = [comparison(one) for one in entry.get("args") or []]
            for name in entry["names"]:
                if action(entry, errno) != default:
                    self._add(action(entry, errno), name, arguments)

    def _add(self, value, name, arguments):
        number = self.library.seccomp_syscall_resolve_name(name.encode())
        if number == -1:
            return  # newer than this library, which then can't allow it, as elsewhere
        array = (Comparison * len(arguments))(*arguments)
        result = self.library.seccomp_rule_add_array(self.context, value, number, len(arguments), array)
        if result != 0:
            raise OSError(-result, f"seccomp: {name}: {os.strerror(-result)}")

    def load(self):
        """From now on, for good."""
        if ctypes.CDLL(None).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
            raise OSError("no_new_privs")
        result = self.library.seccomp_load(self.context)
        if result != 0:
            raise OSError(-result, f"seccomp: {os.strerror(-result)}")


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        Filter(json.load(file)).load()
    os.execvp(sys.argv[2], sys.argv[2:])
