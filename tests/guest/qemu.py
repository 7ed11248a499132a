# SPDX-License-Identifier: Apache-2.0
"""The guest kernel that `run --kernel qemu` boots: a Debian cloud kernel, emulated by QEMU without KVM, on this machine's own root
file system by virtiofsd. It is newer than the user-mode one, has several CPUs and AES instructions, and is slow.

The kernel comes from a suite of the archive that this machine's own apt sources name (never installed, only unpacked into a cache
folder):

RINGBOLT_GUEST_SUITE   the suite, for instance bookworm-backports (6.12); default trixie-backports, whose kernels can change the
                       keys of kernel TLS (Linux 6.14 and later)
RINGBOLT_GUEST_CACHE   the folder; default $XDG_CACHE_HOME/ringbolt/guest or ~/.cache/ringbolt/guest
"""
import contextlib
import fcntl
import glob
import os
import re
import shlex
import shutil
import socket
import subprocess
import tempfile

SUITE_DEFAULT = "trixie-backports"
META_PACKAGE = "linux-image-cloud-amd64"
PARTS = re.compile(r"linux-(image|binary|modules)-\d")  # newer kernels come in several packages
DAEMONS = ("/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd", "/usr/lib/virtiofsd")


class GuestError(Exception):
    pass


# ---- the kernel

def cache_folder():
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.environ.get("RINGBOLT_GUEST_CACHE") or os.path.join(base, "ringbolt", "guest")


def release():
    """This Debian's name."""
    with open("/etc/os-release", encoding="utf-8") as f:
        for line in f:
            if line.startswith("VERSION_CODENAME="):
                return line.split("=", 1)[1].strip().strip('"')
    raise GuestError("/etc/os-release names no VERSION_CODENAME: the kernel can only be fetched on Debian")


def source_for(suite):
    """What this machine fetches Debian from, for another suite, as deb822 text."""
    here = release()
    for path in sorted(glob.glob("/etc/apt/sources.list.d/*.sources")):
        with open(path, encoding="utf-8") as f:
            text = "".join(line for line in f if not line.startswith("#"))
        for stanza in re.split(r"\n[ \t]*\n", text):
            if re.search(rf"^Suites:(.*\s)?{here}(\s|$)", stanza, re.M) and re.search(r"^URIs:", stanza, re.M):
                return re.sub(r"^Suites:.*$", f"Suites: {suite}", stanza.strip(), flags=re.M) + "\n"
    for path in ["/etc/apt/sources.list", *sorted(glob.glob("/etc/apt/sources.list.d/*.list"))]:
        with contextlib.suppress(FileNotFoundError), open(path, encoding="utf-8") as f:
            for line in f:
                match = re.match(rf"deb\s+(?:\[(.*?)\]\s+)?(\S+)\s+{here}\s", line)
                if match:
                    signed = re.search(r"signed-by=(\S+)", match.group(1) or "")
                    return (f"Types: deb\nURIs: {match.group(2)}\nSuites: {suite}\nComponents: main\n" +
                            (f"Signed-By: {signed.group(1)}\n" if signed else ""))
    raise GuestError(f"this machine's apt sources name no archive for {here}")


class Apt:
    """apt with one source and with lists and cache of its own: the system's are not touched, and it needs no rights."""

    def __init__(self, folder, suite):
        self.folder = folder
        sources = os.path.join(folder, "suite.sources")
        with open(sources, "w", encoding="utf-8") as f:
            f.write(source_for(suite))
        for name in ("lists/partial", "cache/archives/partial"):
            os.makedirs(os.path.join(folder, name))
        settings = {"Dir::Etc::SourceList": sources, "Dir::Etc::SourceParts": "-", "Dir::State::Lists": f"{folder}/lists",
                    "Dir::State::Status": "/dev/null", "Dir::Cache": f"{folder}/cache", "APT::Sandbox::User": "root",
                    "Acquire::Languages": "none"}
        self.options = [part for key, value in settings.items() for part in ("-o", f"{key}={value}")]

    def __call__(self, program, *arguments):
        done = subprocess.run([program, *self.options, *arguments], cwd=self.folder, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise GuestError(f"{program} {arguments[0]} failed:\n{done.stderr.strip()}")
        return done.stdout

    def depends(self, package):
        return re.findall(r"^\s+Depends: (\S+)", self("apt-cache", "depends", package), re.M)


def kernel_unpack(suite, target):
    """Fetches the suite's newest cloud kernel into target."""
    with tempfile.TemporaryDirectory(prefix="rbkernel-", dir=os.path.dirname(target)) as folder:
        apt = Apt(folder, suite)
        apt("apt-get", "-q", "update")
        images = [name for name in apt.depends(META_PACKAGE) if PARTS.match(name)]
        packages = images + [name for image in images for name in apt.depends(image) if PARTS.match(name)]
        if not packages:
            raise GuestError(f"{suite} has no {META_PACKAGE}")
        apt("apt-get", "-q", "download", *packages)
        root = os.path.join(folder, "root")
        os.makedirs(os.path.join(root, "usr/lib"))
        os.symlink("usr/lib", os.path.join(root, "lib"))  # some packages say lib, some usr/lib; modprobe knows lib only
        for package in glob.glob(os.path.join(folder, "*.deb")):
            # Not dpkg -x: it would replace the link by a folder.
            unpack = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE)
            subprocess.run(["tar", "-x", "--keep-directory-symlink", "--no-same-owner", "-C", root], stdin=unpack.stdout, check=True)
            if unpack.wait() != 0:
                raise GuestError(f"dpkg-deb could not unpack {os.path.basename(package)}")
        kernel_image(root)
        subprocess.run([tool("depmod", "kmod"), "-b", root, kernel_version(root)], check=True)
        os.rename(root, target)


def kernel_version(root):
    found = os.listdir(os.path.join(root, "lib/modules"))
    if len(found) != 1:
        raise GuestError(f"{len(found)} kernels in {root} instead of one")
    return found[0]


def kernel_image(root):
    version = kernel_version(root)
    for path in (f"lib/modules/{version}/vmlinuz", f"boot/vmlinuz-{version}"):  # newer and older packages
        if os.path.exists(os.path.join(root, path)):
            return os.path.join(root, path)
    raise GuestError(f"no kernel image in {root}")


def kernel_find():
    """(kernel image, folder with modules/VERSION), fetched when they are not there."""
    suite = os.environ.get("RINGBOLT_GUEST_SUITE", SUITE_DEFAULT)
    target = os.path.join(cache_folder(), suite)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with open(target + ".lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.isdir(target):
            kernel_unpack(suite, target)
    return kernel_image(target), os.path.join(target, "lib/modules")


# ---- the machine

def tool(name, package):
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if not path:
        raise GuestError(f"there is no {name} (Debian package {package})")
    return path


class Qemu:
    """The emulator and virtiofsd, in one process group of a session of their own. counted: the guest's clock counts instructions,
    one nanosecond each, on one CPU."""

    name = "qemu"

    def __init__(self, control, memory, cpus=2, counted=False):
        self.control, self.memory, self.cpus, self.counted = control, memory, cpus, counted
        self.binary = tool("qemu-system-x86_64", "qemu-system-x86")
        self.daemon = next((path for path in DAEMONS if os.access(path, os.X_OK)), None)
        if not self.daemon:
            raise GuestError("there is no virtiofsd (Debian packages qemu-system-common or virtiofsd)")
        if os.geteuid() != 0:
            raise GuestError("virtiofsd needs root to show the guest this machine's root file system")
        self.image, self.modules = kernel_find()
        self.shares = [self.modules]

    def arguments(self):
        append = (f"rootfstype=virtiofs root=rootfs rw init={self.control}/init console=ttyS0 loglevel=4 panic=-1 "
                  "mitigations=off audit=0 selinux=0 apparmor=0 tsc=reliable random.trust_cpu=on")
        clock = ["-accel", "tcg,thread=multi"]
        cpu = "max"
        if self.counted:
            clock = ["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off"]
            cpu = "max,-erms,-fsrm"  # each byte of a `rep movsb` would count as an instruction: copy by plain loops
        return [self.binary, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-M", "pc", "-cpu", cpu,
                *clock, "-smp", "1" if self.counted else str(self.cpus), "-m", f"{self.memory}M",
                "-object", f"memory-backend-memfd,id=memory,size={self.memory}M,share=on", "-numa", "node,memdev=memory",
                "-chardev", f"socket,id=files,path={self.control}/files.sock",
                "-device", "vhost-user-fs-pci,chardev=files,tag=rootfs", "-device", "virtio-rng-pci",
                "-kernel", self.image, "-append", append, "-serial", "stdio"]

    def start(self, console):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as files:
            files.bind(f"{self.control}/files.sock")
            files.listen(1)
            daemon = [self.daemon, f"--fd={files.fileno()}", "-f", "-o", "source=/,sandbox=chroot,cache=auto", "--rlimit-nofile=0"]
            # The shell becomes QEMU, so that virtiofsd, which ends when QEMU does, is in its process group.
            command = f"{shlex.join(daemon)} & exec {shlex.join(self.arguments())}"
            return subprocess.Popen(["sh", "-c", command], stdin=subprocess.DEVNULL, stdout=console, stderr=console,
                                    start_new_session=True, pass_fds=[files.fileno()])
