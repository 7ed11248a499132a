# SPDX-License-Identifier: Apache-2.0
"""What the client (ringbolt-bench) does, and how often.

Each work is done twice, a short time and a long time, and what is counted is the difference: no opening of the connection, no end
of it, and nothing that is done only once, unless the work consists of that.
"""
import dataclasses
import json
import os
import subprocess

from .count import Count, Refused, difference

ANSWER = 100         # bytes of a small answer
SHORT = 1_000_000    # bytes of the short bulk transfer
CROWD = 64           # connections of `requests`
SUITES = {"1.3": ("--ciphersuites", "TLS_AES_128_GCM_SHA256"), "1.2": ("--ciphers", "ECDHE-ECDSA-AES128-GCM-SHA256")}


@dataclasses.dataclass(frozen=True)
class Work:
    unit: str
    port: str
    options: object          # how much to the options of ringbolt-bench
    short: int
    long: object             # arguments of bench/guest to how much more
    per: float = 1           # how much makes a unit
    has_data: bool = True    # each connection lives long enough for the kernel to take it over
    versions: tuple = ("1.3",)


def fetch(name):
    return lambda count: ["churn", "--resume", "--connections", "1", "--count", count, "--path", f"/{name}"]


WORKS = {
    "download": Work("GB downloaded, one connection", "http",
                     lambda size: ["download", "--connections", "1", "--count", 1, "--path", f"/{size}", "--length", size],
                     SHORT, lambda args: args.megabytes * 1_000_000, 1e9, versions=("1.3", "1.2")),
    "upload": Work("GB uploaded, one connection", "sink",
                   lambda size: ["upload", "--raw", "--connections", "1", "--count", 1, "--size", size],
                   SHORT, lambda args: args.megabytes * 1_000_000, 1e9, versions=("1.3", "1.2")),
    "request": Work(f"request on one kept connection, answer of {ANSWER} bytes", "http",
                    lambda count: ["requests", "--connections", "1", "--count", count, "--path", "/small", "--length", ANSWER],
                    10, lambda args: args.requests),
    "requests": Work(f"request on {CROWD} kept connections, answer of {ANSWER} bytes", "http",
                     lambda count: ["requests", "--connections", CROWD, "--count", count, "--path", "/small", "--length", ANSWER],
                     4 * CROWD, lambda args: args.requests // CROWD * CROWD),
    "handshake": Work("connection with a full handshake (accept, handshake, connect to the backend, close; no data)", "http",
                      lambda count: ["handshakes", "--connections", "1", "--count", count], 1, lambda args: args.handshakes,
                      has_data=False),
    "resumed": Work("connection with a resumed handshake (likewise)", "http",
                    lambda count: ["handshakes", "--resume", "--connections", "1", "--count", count], 1,
                    lambda args: args.handshakes, has_data=False),
    "object-64k": Work("resumed connection and a download of 64 KiB on it", "http", fetch("object-64k"), 1, lambda args: args.handshakes),
    "object-1m": Work("resumed connection and a download of 1 MiB on it", "http", fetch("object-1m"), 1, lambda args: -(-args.handshakes // 4)),
    "object-8m": Work("resumed connection and a download of 8 MiB on it", "http", fetch("object-8m"), 1, lambda args: -(-args.handshakes // 10)),
}


def files(args):
    """What the backend serves: name to size."""
    sizes = (SHORT, SHORT + args.megabytes * 1_000_000)
    return {**{str(size): size for size in sizes}, "small": ANSWER,
            "object-64k": 64 << 10, "object-1m": 1 << 20, "object-8m": 8 << 20}


def complaint(done):
    """Why ringbolt-bench is not content: the kinds of errors that it counted, or what it says."""
    try:
        report = json.loads(done.stdout)
    except ValueError:
        return done.stderr.strip()
    kinds = ", ".join(f"{count} {kind}" for kind, count in report["errors"]["kinds"].items() if count)
    return f"{kinds}, in {report['seconds']:.0f} s of the guest"


def load(stage, work, version, port, amount):
    """Runs the client. Its report."""
    options = work.options(amount)
    command = [*stage.client, options[0], f"localhost:{port}", "--json", "--timeout", "1h", "--ca", stage.path("cert.pem"), "--tls", version,
               *SUITES[version], *map(str, options[1:])]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Refused(f"ringbolt-bench ended with status {done.returncode}: {complaint(done)}")
    if work.port == "sink":
        stage.wait_taken(amount)
    report = json.loads(done.stdout)
    suites = {(kind["version"], kind["suite"]) for kind in report["tls"]}
    if suites != {(f"TLSv{version}", SUITES[version][1])}:
        raise Refused(f"negotiated was {suites}")
    return report


def check_kernel(path, work, report, counted):
    """That records were protected where the path's name says."""
    connections = report["connections"]["handshakes"]
    for direction, wanted in (("transmit", path.transmit), ("receive", path.receive)):
        seen = counted[f"kernel_{direction}"]
        if wanted == "user" and seen != 0:
            raise Refused(f"{seen} of {connections} connections moved into the kernel to {direction}")
        if wanted == "kernel" and work.has_data and seen != connections:
            raise Refused(f"{seen} of {connections} connections moved into the kernel to {direction}")


def measure(stage, path, work, version, pid, port, more):
    """One round. What was counted for each unit, and how many of the connections the kernel took over."""
    counts = []
    for amount in (work.short, work.short + more):
        count = Count(pid)
        report = load(stage, work, version, port, amount)
        counts.append(count.end())
        check_kernel(path, work, report, counts[-1])
        connections = report["connections"]["handshakes"]
    result = {name: value / (more / work.per) for name, value in difference(counts[1], counts[0]).items()}
    for direction in ("transmit", "receive"):
        result[f"kernel_{direction}"] = counts[1][f"kernel_{direction}"] / connections
    return result


def warm_up(stage, work, version, port):
    load(stage, work, version, port, work.short)


def bench_beside(ringbolt):
    return os.path.join(os.path.dirname(ringbolt), "bench", "load", "ringbolt-bench")
