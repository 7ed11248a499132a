# SPDX-License-Identifier: Apache-2.0
"""What is measured. A work says what a unit is and measures one proxy once; rounds.py does that for all of them, again and again.

A client that was the bottleneck doesn't spoil CPU per unit: that is what the proxy used divided by what it did, whoever waited for
whom. It errs against a proxy that had to wait, because that one finds less to do each time it wakes up. Throughput and closed-loop
latencies are the client's then, and marked so: the proxy is at least that good.
"""
import time

from .client import Client, Refused
from .lab import BIG_SIZE, CHECK_SIZE, SMALL_SIZE
from .meter import Gone, Sample, Usage
from .proxies import FLOOR

WITHIN = 0.97  # of the client's window: the readings are inside it, also when the first one comes late
SATURATED = "the client was saturated"
CPU_METRICS = [("cpu", "CPU of the proxy, user and system"), ("user", "of that in user space"), ("system", "of that in the kernel")]


def metric(ident, title, unit, better="less", per=None):
    return {"id": ident, "title": title, "unit": unit, **({"per": per} if per else {}), "better": better}


class Plan:
    """How long and how much; and what one work needs to know of another's results."""

    def __init__(self, seconds, warm_up, tolerated, idle_connections, rest):
        self.seconds, self.warm_up, self.tolerated = seconds, warm_up, tolerated
        self.idle_connections, self.rest = idle_connections, rest
        self.rate = None  # of the fixed-rate work, a second


class Nothing(Refused):
    """Not one unit was done in the measured time. disturbed: what else went on, if that may be why."""

    def __init__(self, disturbed):
        super().__init__("nothing was done in the measured time")
        self.disturbed = disturbed


class Figures:
    """One measure. limits: metrics that may not be compared, and why; disturbed: what else went on, if it was too much."""

    def __init__(self, values, limits=None, disturbed=None):
        self.values, self.limits, self.disturbed = values, limits or {}, disturbed


class Work:
    certificate, kind, needs = "ecdsa", "http", None  # needs: the work whose results it builds on
    is_fresh = False  # a proxy of its own for each measure

    def __init__(self, ident, title, unit, headline, metrics, about):
        self.id, self.title, self.unit, self.headline, self.metrics, self.about = ident, title, unit, headline, metrics, about

    def describe(self):
        return {"id": self.id, "title": self.title, "about": self.about, "unit": self.unit, "headline": self.headline,
                "metrics": self.metrics}

    def applies(self, proxy):
        return True

    def start(self, lab, proxy):
        return proxy.start(lab, getattr(lab.certificates, self.certificate), self.kind)

    def verify(self, lab, running):
        """Bytes that were compared, one by one, with what they must be."""
        return fetch(lab, running, "/small", SMALL_SIZE, 16, self.certificate)

    def measure(self, lab, running, plan):
        raise NotImplementedError

    def seconds_estimated(self, plan):
        return plan.seconds + plan.warm_up + 0.2


def fetch(lab, running, path, size, count, key):
    client = Client(lab, running, "download", "--path", path, "--length", size, "--verify", "--count", count, "--connections", 1,
                    threads=1, key=key)
    received = client.check(client.report())["bytes"]["received_whole_run"]
    if received != size * count:
        raise Refused(f"{received} bytes came instead of {size * count}")
    return received


def observe(lab, running, client, plan):
    """(what the proxy used, what the client counted) while the client measured."""
    def sample():
        subjects = running.pids()
        if not subjects:
            raise Gone(running.process.how_it_ended())
        return Sample(subjects, lab.company())

    try:
        if not client.wait_for("measure"):
            client.check(client.report())
            raise Refused("the client ended before it had measured anything")
        before = sample()
        client.wait_for("end", plan.seconds * WITHIN)
        usage = Usage(before, sample(), lab.proxy_cpus, lab.other_cpus)
        found = client.check(client.report())
        if not found["bytes"]["received"] + found["bytes"]["sent"] + found["units"]["count"]:
            raise Nothing(usage.disturbed(plan.tolerated))
        return usage, found
    except Gone as gone:
        raise Refused(str(gone) if running.process.is_running() else running.process.how_it_ended()) from None
    finally:
        client.close()


def cpu_values(usage, per_second, scale):
    """CPU, and its two parts, for a unit of which there were so many a second; times scale."""
    if not per_second:
        raise Nothing(None)
    whole = usage.cpu / usage.seconds / per_second * scale
    share = usage.user / usage.cpu if usage.user is not None and usage.cpu else None
    parts = {} if share is None else {"user": whole * share, "system": whole * (1 - share)}
    return {"cpu": whole, **parts}


def throughput_limit(usage, found):
    """Why the throughput isn't the proxy's, or None."""
    if found["client"]["bottleneck"]:
        return SATURATED
    if usage.others_idle < 0.05 and usage.cpu < 0.9 * usage.seconds:
        return "client and backend had no CPU left"
    return None


def timed(arguments, plan):
    return [*arguments, "--warm-up", f"{round(plan.warm_up * 1000)}ms", "--duration", f"{round(plan.seconds * 1000)}ms"]


class Load(Work):
    """As much as the client can do in a given time."""

    def __init__(self, ident, title, unit, about, mode, arguments, certificate="ecdsa", tls="1.3", kind="http"):
        metrics = [metric(name, words, "µs", per=unit) for name, words in CPU_METRICS] + [
            metric("throughput", f"{unit}s a second", "1/s", "more")]
        super().__init__(ident, title, unit, "cpu", metrics, about)
        self.mode, self.arguments, self.certificate, self.tls, self.kind = mode, arguments, certificate, tls, kind

    def run(self, lab, running, plan):
        client = Client(lab, running, self.mode, *timed(self.arguments, plan), tls=self.tls, key=self.certificate)
        return observe(lab, running, client, plan)

    def measure(self, lab, running, plan):
        usage, found = self.run(lab, running, plan)
        per_second = found["units"]["per_second"]
        limit = throughput_limit(usage, found)
        return Figures({**cpu_values(usage, per_second, 1e6), "throughput": per_second}, {"throughput": limit} if limit else {},
                       usage.disturbed(plan.tolerated))


class Requests(Load):
    def __init__(self, connections):
        super().__init__(f"request-{connections}", f"Request of {SMALL_SIZE} B, {connections} kept connections", "request",
                         f"A unit is one HTTP request and its answer of {SMALL_SIZE} bytes over TLS 1.3 on one of {connections} kept "
                         "connections, the next one sent when the answer has come. nginx answers.",
                         "requests", ["--connections", connections, "--path", "/small", "--length", SMALL_SIZE])
        self.metrics += [metric("p50", "median latency at full load", "ms"), metric("p99", "99th percentile at full load", "ms")]

    def measure(self, lab, running, plan):
        usage, found = self.run(lab, running, plan)
        per_second = found["units"]["per_second"]
        limit = throughput_limit(usage, found)
        return Figures({**cpu_values(usage, per_second, 1e6), "throughput": per_second, **percentiles(found, "p50", "p99")},
                       {name: limit for name in ("throughput", "p50", "p99")} if limit else {}, usage.disturbed(plan.tolerated))


class Bulk(Load):
    def __init__(self, ident, title, about, mode, arguments, kind):
        super().__init__(ident, title, "GB", about, mode, arguments, kind=kind)
        self.metrics = [metric(name, words, "s", per="GB") for name, words in CPU_METRICS] + [
            metric("throughput", "GB (10^9 bytes) a second", "GB/s", "more")]

    def verify(self, lab, running):
        if self.kind == "http":
            return fetch(lab, running, "/big", BIG_SIZE, 1, self.certificate)
        client = Client(lab, running, "upload", "--path", f"/check/{lab.check_digest}", "--size", CHECK_SIZE, "--count", 1,
                        "--connections", 1, threads=1)
        return client.check(client.report())["bytes"]["sent_whole_run"]

    def measure(self, lab, running, plan):
        usage, found = self.run(lab, running, plan)
        per_second = found["bytes"]["received_per_second" if self.mode == "download" else "sent_per_second"] / 1e9
        limit = throughput_limit(usage, found)
        return Figures({**cpu_values(usage, per_second, 1), "throughput": per_second}, {"throughput": limit} if limit else {},
                       usage.disturbed(plan.tolerated))


def percentiles(found, *names):
    keys = {"p50": "p50", "p99": "p99", "p999": "p99.9"}
    return {name: found["latency_us"][keys[name]] / 1000 for name in names}


def full(ident, title, certificate):
    return Load(ident, f"Full handshake, TLS 1.3, {title}", "handshake", "A unit is one connection: connecting, a full TLS 1.3 "
                f"handshake with {title} and X25519, the connection to the backend, closing. 16 at a time.", "handshakes",
                ["--connections", 16], certificate)


def resumed(version):
    return Load(f"resumed-{version.replace('.', '')}", f"Resumed handshake, TLS {version}", "handshake",
                f"A unit is one connection: connecting, a TLS {version} handshake that resumes a session by a ticket, the "
                "connection to the backend, closing. 16 at a time.", "handshakes", ["--connections", 16, "--resume"], tls=version)


def load_works():
    return [
        full("handshake-ecdsa", "ECDSA P-256", "ecdsa"), full("handshake-rsa", "RSA-2048", "rsa"), resumed("1.3"), resumed("1.2"),
        Requests(64), Requests(512),
        Bulk("download", "Download", f"A unit is 10^9 bytes that the client receives over TLS 1.3, on 4 connections that "
             f"fetch a file of {BIG_SIZE >> 20} MiB again and again from nginx.", "download",
             ["--connections", 4, "--path", "/big", "--length", BIG_SIZE], "http"),
        Bulk("upload", "Upload", f"A unit is 10^9 bytes that the client sends over TLS 1.3, on 4 connections, "
             f"{BIG_SIZE >> 20} MiB a request, to a server that throws them away.", "upload",
             ["--connections", 4, "--path", "/", "--size", BIG_SIZE], "sink"),
    ]
