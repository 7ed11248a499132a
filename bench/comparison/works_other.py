# SPDX-License-Identifier: Apache-2.0
"""Works that are no plain load: latency at a fixed rate, a storm of handshakes beside it, idle connections, a reload."""
import os
import socket
import ssl
import time

from .client import Client, Refused
from .lab import SMALL_SIZE
from .meter import Gone, memory
from .proxies import FLOOR
from .report import WORSE
from .works import SATURATED, Figures, Work, cpu_values, load_works, metric, observe, percentiles, timed

SMALL = ["--path", "/small", "--length", SMALL_SIZE]


def rate_limits(found, names):
    """Why latencies at a fixed rate may not be compared."""
    if found["client"]["bottleneck"]:
        return {name: SATURATED for name in names}
    if found["units"]["unsent"]:
        return {name: f"{found['units']['unsent']} requests could not even be sent: {WORSE}" for name in names}
    return {}


class Latency(Work):
    needs = "request-64"

    def __init__(self):
        super().__init__("latency", "Latency at a fixed rate", "request", "p99",
                         [metric("p50", "median", "ms"), metric("p99", "99th percentile", "ms"),
                          metric("p999", "99.9th percentile", "ms"),
                          metric("cpu", "CPU of the proxy, user and system", "µs", per="request")],
                         f"Requests of {SMALL_SIZE} B on 64 kept connections at fixed moments, at half of what the slowest proxy of "
                         "this run (relays apart) did at full load; each latency counts from the moment that the request was due.")

    def measure(self, lab, running, plan):
        client = Client(lab, running, "requests", *timed(["--connections", 64, "--rate", plan.rate, *SMALL], plan))
        usage, found = observe(lab, running, client, plan)
        return Figures({**percentiles(found, "p50", "p99", "p999"), "cpu": cpu_values(usage, found["units"]["per_second"], 1e6)["cpu"]},
                       rate_limits(found, ("p50", "p99", "p999")), usage.disturbed(plan.tolerated))


class Storm(Work):
    certificate = "rsa"
    RATE = 1000
    LEAST = 20  # handshakes a second that are a storm, on whatever machine

    def __init__(self):
        super().__init__("storm", "Requests during a storm of handshakes", "request", "p99",
                         [metric("p50", "median", "ms"), metric("p99", "99th percentile", "ms"),
                          metric("handshakes", "full handshakes a second meanwhile", "1/s", "more")],
                         f"{self.RATE} requests a second of {SMALL_SIZE} B on 64 established connections, each latency from the moment "
                         "that it was due, while another client shakes hands as fast as it can (full, TLS 1.3, RSA-2048: the one that "
                         "costs a server much more than a client), 32 at a time, with what CPU the requests leave it.")

    def applies(self, proxy):
        return proxy.role != FLOOR  # the handshakes would be those of the server behind it

    def measure(self, lab, running, plan):
        clients = []
        try:
            storm = Client(lab, running, "handshakes", "--connections", 32, "--warm-up", "0", "--duration", "1h", key="rsa",
                           is_humble=True)
            clients.append(storm)
            if not storm.wait_for("measure"):
                storm.check(storm.report())
            client = Client(lab, running, "requests", *timed(["--connections", 64, "--rate", self.RATE, *SMALL], plan), key="rsa",
                            threads=1)
            clients.append(client)
            usage, found = observe(lab, running, client, plan)
            storm.end()
            shaken = storm.check(storm.report())
        finally:
            for one in clients:
                one.close()
        limits = rate_limits(found, ("p50", "p99"))
        if shaken["client"]["bottleneck"]:
            limits["handshakes"] = SATURATED
        per_second = shaken["units"]["per_second"]
        calm = f"no storm: {per_second:.0f} handshakes a second, the client had no CPU" if per_second < self.LEAST else None
        return Figures({**percentiles(found, "p50", "p99"), "handshakes": per_second}, limits, usage.disturbed(plan.tolerated) or calm)


class Idle(Work):
    is_fresh = True
    AFTERWARDS = 2  # seconds after the first few connections: who gives memory back has had time for it

    def __init__(self, plan):
        super().__init__("idle", f"{plan.idle_connections:,} idle connections", "connection", "memory",
                         [metric("memory", "memory of the proxy for each", "B", per="connection"),
                          metric("whole", "memory of the proxy with all of them", "MB"),
                          metric("begin", "memory of the proxy before", "MB")],
                         f"A unit is one idle TLS 1.3 connection with its connection to the backend; {plan.idle_connections:,} are opened "
                         f"and left alone for {plan.rest:g} s. Memory is PSS of all the proxy's processes, compared with what they had "
                         f"{self.AFTERWARDS} s after 64 connections had come and gone; the kernel's own memory is not in it. Afterwards each connection must "
                         "answer a request.")

    def seconds_estimated(self, plan):
        return plan.idle_connections / 800 + plan.rest + self.AFTERWARDS + 3

    def measure(self, lab, running, plan):
        begin = Client(lab, running, "requests", "--connections", 64, "--count", 640, *SMALL)
        begin.check(begin.report())
        time.sleep(self.AFTERWARDS)
        before = self.memory(running)
        client = Client(lab, running, "idle", "--connections", plan.idle_connections, "--warm-up", f"{round(plan.rest * 1000)}ms",
                        "--duration", "100ms", "--check-alive", *SMALL, "--timeout", "60s")
        try:
            if not client.wait_for("measure"):
                client.check(client.report())
                raise Refused("the client ended before it had measured anything")
            after = self.memory(running)
            found = client.check(client.report())
        finally:
            client.close()
        opened, received = found["connections"]["open_at_start"], found["bytes"]["received_whole_run"]
        if opened != plan.idle_connections or received != SMALL_SIZE * plan.idle_connections:
            raise Refused(f"{opened} of {plan.idle_connections} connections were open, and {received} bytes came over them")
        return Figures({"memory": (after - before) / plan.idle_connections, "whole": after / 1e6, "begin": before / 1e6})

    @staticmethod
    def memory(running):
        try:
            return memory(running.pids())
        except Gone:
            raise Refused(running.process.how_it_ended()) from None


class Reload(Work):
    is_fresh = True
    IN_A_ROW = 20
    RATE = 200
    LONGEST = 20  # seconds, these three
    BEFORE, AFTER = 0.3, 1

    def __init__(self):
        super().__init__("reload", "A new certificate", "reload", "seconds",
                         [metric("seconds", "until the new certificate is served", "s"),
                          metric("broken", "kept connections that broke", "count"),
                          metric("failed", "handshakes that failed", "count"),
                          metric("handshakes", "handshakes meanwhile", "count", "more")],
                         "The file with certificate and key is replaced, and the proxy told in its own way (Ringbolt: not at all, it "
                         "watches; HAProxy: USR2 to its master; nginx, hitch, stunnel: HUP), while 16 kept connections carry "
                         f"{self.RATE} requests a second and {self.RATE} new ones a second shake hands. Counted from before the file is "
                         f"replaced until the first of {self.IN_A_ROW} handshakes in a row that were served the new one.")

    def applies(self, proxy):
        return proxy.role != FLOOR and proxy.variant in ("user", "kernel", "shipped")

    def seconds_estimated(self, plan):
        return 4

    def start(self, lab, proxy):
        self.served = lab.path(f"reload-{proxy.id}.pem")
        replace(lab.certificates.ecdsa, self.served)
        return proxy.start(lab, self.served, self.kind)

    def measure(self, lab, running, plan):
        new = lab.certificates.make("ecdsa", f"new-{running.proxy.id}")
        wanted = fingerprint_of(new)
        both = ["--warm-up", "0", "--duration", "1h"]
        clients = []
        try:
            clients.append(Client(lab, running, "requests", "--connections", 16, "--rate", self.RATE, *SMALL, *both, threads=1))
            clients.append(Client(lab, running, "handshakes", "--connections", 16, "--rate", self.RATE, *both, threads=1))
            if not all(client.wait_for("measure") for client in clients):
                raise Refused("the connections could not be opened")
            clients[1].wait_for("end", self.BEFORE)  # which doesn't come: it goes on for an hour
            seconds, failed = self.replace_and_wait(running, new, wanted)
            clients[1].wait_for("end", self.AFTER)
            for client in clients:
                client.end()
            kept, shaken = (client.report() for client in clients)
        finally:
            for client in clients:
                client.close()
        if not running.process.is_running():
            raise Refused(running.process.how_it_ended())
        return Figures({"seconds": seconds, "broken": kept["errors"]["total"] + kept["connections"]["reopened"],
                        "failed": shaken["errors"]["total"] + failed, "handshakes": shaken["units"]["whole_run"]})

    def replace_and_wait(self, running, new, wanted):
        """(seconds, failed handshakes of this program's own)."""
        began, failed, row, first = time.monotonic(), 0, 0, None
        replace(new, self.served)
        running.reload()
        while row < self.IN_A_ROW:
            now = time.monotonic()
            if now - began > self.LONGEST:
                raise Refused(f"after {self.LONGEST} s the new certificate is not served")
            try:
                row = row + 1 if served(running.port) == wanted else 0
            except OSError:
                failed, row = failed + 1, 0
            first = (first or time.monotonic() - began) if row else None
        return first, failed


def replace(source, target):
    """The file is the old one or the new one, never half of one."""
    with open(source, "rb") as f:
        content = f.read()
    with open(target + ".new", "wb") as to:
        to.write(content)
    os.rename(target + ".new", target)


def fingerprint_of(path):
    with open(path, encoding="ascii") as f:
        return ssl.PEM_cert_to_DER_cert(f.read().partition("-----BEGIN PRIVATE KEY")[0])


def served(port):
    """The certificate that a client gets."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with context.wrap_socket(socket.create_connection(("127.0.0.1", port), 10), server_hostname="localhost") as client:
        return client.getpeercert(True)


def all_works(plan):
    return [*load_works(), Latency(), Storm(), Idle(plan), Reload()]
