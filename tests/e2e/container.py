# SPDX-License-Identifier: Apache-2.0
"""What a container runtime does, in little: a process that is number 1 of its own, without privileges, on a file system that nobody
can write to, under a seccomp profile. It stands in for Docker and Kubernetes where neither runs.

    container.py JSON PROGRAM ARGUMENT …     {"uid", "mounts": [[source, target, can_write]], "empty": [target], "seccomp": profile}

runs the program as `docker run` does, with the libraries that it needs and nothing else in its file system but the mounts; `empty` are
folders in memory. TERM, INT, QUIT and HUP are passed on, and this program ends as the one in it did.
"""
import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback

import seccomp

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWPID = 0x20000, 0x4000000, 0x8000000, 0x20000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
MNT_DETACH, PIVOT_ROOT = 2, 155
PROGRAM = "/usr/bin/ringbolt"  # as in conf/container/Dockerfile
PR_SET_PDEATHSIG, PR_CAPBSET_DROP = 1, 24

libc = ctypes.CDLL(None, use_errno=True)


def check(result, what):
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")


def mount(source, target, kind="", flags=0, data=""):
    check(libc.mount(source.encode(), target.encode(), kind.encode(), flags, data.encode()), f"mount {target}")


def show(source, target, can_write):
    """A file or folder of the machine's, in the container."""
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "a", encoding="ascii"):
            pass
    mount(source, target, flags=MS_BIND)
    if not can_write:
        mount(source, target, flags=MS_BIND | MS_REMOUNT | MS_RDONLY)


def make_root(root, job):
    mount("tmpfs", root, "tmpfs", MS_NODEV, "mode=0755")
    for source, target, can_write in job["mounts"]:
        show(source, root + target, can_write)
    for target in job["empty"]:
        os.makedirs(root + target, exist_ok=True)
        mount("tmpfs", root + target, "tmpfs", MS_NOSUID | MS_NODEV, f"mode=0700,uid={job['uid']},gid={job['uid']}")
    for name in ("null", "zero", "random", "urandom"):
        show(f"/dev/{name}", f"{root}/dev/{name}", True)
    os.makedirs(f"{root}/proc")
    mount("proc", f"{root}/proc", "proc", MS_NOSUID | MS_NODEV)
    mount("tmpfs", root, flags=MS_REMOUNT | MS_RDONLY | MS_NODEV)


def enter(root):
    os.chdir(root)
    check(libc.syscall(PIVOT_ROOT, b".", b"."), "pivot_root")  # pivot_root(2): the old one now lies over the new one
    check(libc.umount2(b".", MNT_DETACH), "umount")
    os.chdir("/")


def give_up(uid):
    for number in range(64):
        if libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0) != 0:
            break
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    check(libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "parent death signal")


def inside(job, root, arguments):
    profile = seccomp.Filter(job["seccomp"]) if job.get("seccomp") else None
    mount("none", "/", flags=MS_REC | MS_PRIVATE)
    make_root(root, job)
    enter(root)
    give_up(job["uid"])
    if profile:
        profile.load()
    os.execve(PROGRAM, [PROGRAM, *arguments], job.get("environment", {}))


def run(job, program, *arguments):
    job["mounts"] += image(program)
    with tempfile.TemporaryDirectory() as root:
        check(libc.unshare(CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID), "unshare")
        child = os.fork()
        if child == 0:
            try:
                inside(job, root, arguments)
            except BaseException:  # whatever it is, it must not go on as the parent
                traceback.print_exc()
            finally:
                os._exit(125)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
            signal.signal(number, lambda number, _frame: os.kill(child, number))
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


# ---- the image

def libraries(program):
    """What the program needs, as the loader finds it: [(name, file)]."""
    output = subprocess.run(["ldd", program], stdout=subprocess.PIPE, check=True, text=True).stdout
    found = []
    for line in output.splitlines():
        name, _, rest = line.strip().partition(" => ")
        path = (rest or name).split(" (")[0]
        if path.startswith("/"):
            found.append((name.split(" (")[0], path))
    return found


def image(program):
    """Mounts for the program as PROGRAM and what it needs, and nothing else: no shell, no accounts."""
    return [[os.path.abspath(program), PROGRAM, False]] + [[os.path.realpath(path), path, False] for _, path in libraries(program)]


if __name__ == "__main__":
    status = run(json.loads(sys.argv[1]), *sys.argv[2:])
    sys.exit(status if status >= 0 else 128 - status)
