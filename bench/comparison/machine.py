# SPDX-License-Identifier: Apache-2.0
"""What this machine is: CPUs, kernel, versions, limits."""
import json
import os
import re
import resource
import shutil
import subprocess

SYSTEM_PATHS = "/usr/local/sbin:/usr/sbin:/sbin"


def find(*names):
    """The first of these programs that is installed; daemons are often not in a user's path."""
    for name in names:
        path = shutil.which(name, path=os.environ.get("PATH", os.defpath) + os.pathsep + SYSTEM_PATHS)
        if path:
            return path
    return None


def output(*command):
    """All that a command prints, or "" when there is no such command."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
                              timeout=30, encoding="utf-8", errors="replace")
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


def file_text(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as f:
            return f.read()
    except OSError:
        return ""


def cpus_split():
    """(the proxy's CPUs, everybody else's): the last one that this process may use, and the rest. With only one they share it."""
    cpus = sorted(os.sched_getaffinity(0))
    return [cpus[-1]], cpus[:-1] or cpus


def descriptors_raise(wanted):
    """Tries to be allowed that many open files, for this process and what it starts. How many it is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= wanted:
        return soft
    for limits in ((wanted, max(hard, wanted)), (min(wanted, hard), hard)):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            break
        except (ValueError, OSError):
            continue
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def ringbolt_probe(ringbolt):
    """What `ringbolt probe` says of the kernel, None if it says nothing."""
    try:
        return json.loads(output(ringbolt, "probe", "--json"))
    except ValueError:
        return None


# What ringbolt probe calls them.
CIPHERSUITES = {"TLS_AES_128_GCM_SHA256": "AES-128-GCM", "TLS_AES_256_GCM_SHA384": "AES-256-GCM",
                "TLS_CHACHA20_POLY1305_SHA256": "ChaCha20-Poly1305"}


def kernel_tls(probe, ciphersuite):
    """(transmit, receive, in words) for TLS 1.3 with that one."""
    ktls = (probe or {}).get("ktls", {})
    if not ktls.get("available"):
        return False, False, f"none: {ktls.get('error') or 'ringbolt probe does not say why'}"
    for cipher in ktls.get("ciphers", []):
        if (cipher.get("tls"), cipher.get("cipher")) == ("TLSv1.3", CIPHERSUITES[ciphersuite]):
            transmit, receive = bool(cipher["transmit"]), bool(cipher["receive"])
            words = {(True, True): "both", (True, False): "transmit", (False, True): "receive"}
            return transmit, receive, words.get((transmit, receive), f"none: {cipher.get('transmit_error')}")
    return False, False, f"none: not for {ciphersuite}"


def virtual():
    names = [output("systemd-detect-virt", kind).strip() for kind in ("--vm", "--container")]
    names = [name for name in names if name not in ("", "none")]
    if not names and "hypervisor" in file_text("/proc/cpuinfo"):
        names = ["a virtual machine"]
    return ", ".join(names) or "none"


def describe(probe, ciphersuite):
    def first(pattern, text):
        found = re.search(pattern, text, re.MULTILINE)
        return found.group(1).strip().strip('"') if found else "unknown"

    proxy_cpus, other_cpus = cpus_split()
    return {
        "cpu": first(r"^model name\s*: (.*)$", file_text("/proc/cpuinfo")),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": os.uname().release,
        "distribution": first(r"^PRETTY_NAME=(.*)$", file_text("/etc/os-release")),
        "virtual": virtual(),
        "proxy_cpus": proxy_cpus,
        "other_cpus": other_cpus,
        "kernel_tls": kernel_tls(probe, ciphersuite)[2],
    }


def versions(ringbolt):
    """Of everything that is installed."""
    asked = {
        "ringbolt": (ringbolt, "--version", r"(\d+\.[\w.+~-]+)"),
        "haproxy": (find("haproxy"), "-v", r"version (\S+)"),
        "nginx": (find("nginx"), "-v", r"nginx/(\S+)"),
        "hitch": (find("hitch"), "-V", r"hitch (\S+)"),
        "stunnel": (find("stunnel4", "stunnel"), "-version", r"stunnel (\S+)"),
        "openssl": (find("openssl"), "version", r"OpenSSL (\S+)"),
    }
    result = {}
    for name, (program, argument, pattern) in asked.items():
        found = re.search(pattern, output(program, argument)) if program else None
        if found:
            result[name] = found.group(1)
    return result
