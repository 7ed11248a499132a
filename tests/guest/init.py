#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The first process of the guest: makes the machine's own root file system usable, runs one command, halts.

It is copied next to `job.json` by `run` and started by the kernel. Everything that is written in the guest goes to tmpfs,
except below the shared directories, which are the host's own (the current directory, the control directory, and
what --share named).
"""
import ctypes
import fcntl
import json
import os
import resource
import socket
import stat
import struct
import subprocess
import sys
import traceback

MODULES = ["ipv6", "tls", "gcm", "ctr", "ghash-generic", "chacha", "chacha_generic", "chacha-x86_64", "poly1305_generic",
           "poly1305-x86_64", "chacha20poly1305", "aesni-intel"]
MS_NOSUID, MS_BIND = 2, 4096
RB_POWER_OFF = 0x4321FEDC
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1

libc = ctypes.CDLL(None, use_errno=True)


def mount(source, target, kind, flags=0, data=""):
    os.makedirs(target, exist_ok=True)
    if libc.mount(source.encode(), target.encode(), kind.encode(), flags, data.encode()) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"mount {kind} on {target}: {os.strerror(error)}")


def mount_system(kernel):
    mount("proc", "/proc", "proc")
    mount("sysfs", "/sys", "sysfs")
    mount("tmpfs", "/dev", "tmpfs", MS_NOSUID, "mode=0755")
    for name, minor in (("null", 3), ("zero", 5), ("full", 7), ("random", 8), ("urandom", 9)):
        os.mknod(f"/dev/{name}", stat.S_IFCHR | 0o666, os.makedev(1, minor))
        os.chmod(f"/dev/{name}", 0o666)
    os.mknod("/dev/tty", stat.S_IFCHR | 0o666, os.makedev(5, 0))
    os.symlink("/proc/self/fd", "/dev/fd")
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        os.symlink(f"/proc/self/fd/{number}", f"/dev/{name}")
    mount("devpts", "/dev/pts", "devpts", 0, "ptmxmode=0666")
    os.symlink("pts/ptmx", "/dev/ptmx")
    for path in ("/dev/shm", "/tmp", "/var/tmp"):
        mount("tmpfs", path, "tmpfs", MS_NOSUID, "mode=1777")
    mount("tmpfs", "/run", "tmpfs", MS_NOSUID, "mode=0755")
    if kernel != "uml":
        mount("/", "/run/host", "none", MS_BIND)  # the root file system without what was mounted over it


def share(path, kernel):
    """The tmpfs above may lie over a directory that the command needs: show the host's again."""
    if kernel == "uml":
        mount("none", path, "hostfs", 0, path)
    else:
        mount("/run/host" + path, path, "none", MS_BIND)


def loopback_up():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        request = fcntl.ioctl(s, SIOCGIFFLAGS, struct.pack("16sh22x", b"lo", 0))
        flags = struct.unpack("16sh22x", request)[1] | IFF_UP
        fcntl.ioctl(s, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", flags))


def load_modules(directory):
    """modprobe wants ROOT/lib/modules/VERSION; the guest kernel's modules lie elsewhere."""
    root = "/run/modules"
    os.makedirs(f"{root}/lib")
    os.makedirs(f"{root}/usr")
    os.symlink(directory, f"{root}/lib/modules")
    os.symlink("../lib", f"{root}/usr/lib")
    loaded = []
    for module in MODULES:
        if subprocess.run(["modprobe", "-d", root, module], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL, check=False).returncode == 0:
            loaded.append(module)
    return loaded


def run(job):
    environment = dict(job["environment"])
    environment["PATH"] = environment.get("PATH", "") + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    environment["TMPDIR"] = "/tmp"
    environment["RINGBOLT_GUEST"] = job["kernel"]
    environment["RINGBOLT_GUEST_MODULES"] = " ".join(job["loaded"])
    with open(os.path.join(job["control"], "output"), "ab", buffering=0) as output, open("/dev/null", "rb") as nothing:
        try:
            child = subprocess.Popen(job["command"], cwd=job["directory"], env=environment, stdin=nothing, stdout=output,
                                     stderr=output, start_new_session=True)
        except OSError as error:
            output.write(f"{job['command'][0]}: {error.strerror}\n".encode())
            return 127 if isinstance(error, FileNotFoundError) else 126
    while True:  # orphans are ours to reap
        pid, status = os.wait()
        if pid == child.pid:
            return os.waitstatus_to_exitcode(status)


def main():
    control = os.path.dirname(os.path.abspath(sys.argv[0]))
    with open(os.path.join(control, "job.json"), encoding="utf-8") as f:
        job = json.load(f)
    result = {}
    try:
        os.environ["PATH"] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        mount_system(job["kernel"])
        for path in job["shares"]:
            share(path, job["kernel"])
        job["loaded"] = load_modules(job["modules"])
        loopback_up()
        resource.setrlimit(resource.RLIMIT_NOFILE, (20000, 20000))
        libc.sethostname(b"guest", 5)
        status = run(job)
        result["status"] = status if status >= 0 else 128 - status
    except Exception:  # whatever it is, the host must hear of it and the guest must halt
        result["error"] = traceback.format_exc()
    with open(os.path.join(control, "result.part"), "w", encoding="utf-8") as f:
        json.dump(result, f)
    os.rename(os.path.join(control, "result.part"), os.path.join(control, "result"))


if __name__ == "__main__":
    try:
        main()
    finally:
        os.sync()
        libc.reboot(RB_POWER_OFF)
