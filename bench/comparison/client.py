# SPDX-License-Identifier: Apache-2.0
"""ringbolt-bench, and the moments that it announces."""
import itertools
import json
import os
import select
import signal
import subprocess
import time

GROUP = "X25519"
CIPHERS_12 = ("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256")
KEYS = {"ecdsa": "ECDSA P-256", "rsa": "RSA-2048"}
PATIENCE_SECONDS = 120
NUMBERS = itertools.count(1)


class Refused(Exception):
    """A measure that doesn't count, and why."""


def what_to_agree_on(lab, tls):
    """(the suites that may come of it, the options that say so)"""
    if tls == "1.3":
        return (lab.ciphersuite,), ["--tls", "1.3", "--groups", GROUP, "--ciphersuites", lab.ciphersuite]
    # A client that doesn't list P-256 can't be shown a P-256 key in TLS 1.2 (RFC 8422 5.1).
    return CIPHERS_12, ["--tls", "1.2", "--groups", f"{GROUP}:P-256", "--ciphers", ":".join(CIPHERS_12)]


class Client:
    """One run of ringbolt-bench against a proxy."""

    def __init__(self, lab, running, mode, *arguments, tls="1.3", key="ecdsa", threads=None, is_humble=False):
        self.lab, self.running, self.tls, self.key = lab, running, tls, key
        self.is_resumed = "--resume" in arguments
        self.suites, agreed = what_to_agree_on(lab, tls)
        self.notified, write_end = os.pipe()
        name = f"client-{next(NUMBERS)}"
        self.report_path = lab.path(f"{name}.json")
        self.pending = b""
        # The shell's exec sends the report to a file of its own, so that complaints in the log don't mix with it.
        command = ["/bin/sh", "-c", 'exec "$@" >"$0"', self.report_path, lab.bench, mode, running.address, "--name", "localhost",
                   "--ca", lab.certificates.ca, *agreed, "--threads",
                   str(threads or threads_default(lab)), "--json", "--notify", str(write_end), *map(str, arguments)]
        try:
            self.process = lab.start(name, command, lab.other_cpus, is_humble=is_humble, pass_fds=[write_end])
        finally:
            os.close(write_end)
        self.process.is_company = True

    def wait_for(self, word, seconds=PATIENCE_SECONDS):
        """True when it has announced that, False when it ended or the time was up before."""
        deadline = time.monotonic() + seconds
        while True:
            while b"\n" in self.pending:
                line, _, self.pending = self.pending.partition(b"\n")
                if line.split()[:1] == [word.encode()]:
                    return True
            ready, _, _ = select.select([self.notified], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                return False
            data = os.read(self.notified, 4096)
            if not data:
                return False
            self.pending += data

    def end(self):
        """Asks it to end early."""
        if self.process.is_running():
            self.process.popen.send_signal(signal.SIGTERM)

    def report(self, seconds=PATIENCE_SECONDS):
        """What it counted, once it has ended."""
        try:
            try:
                self.process.popen.wait(seconds)
            except subprocess.TimeoutExpired:
                raise Refused("the client did not end") from None
            with open(self.report_path, encoding="utf-8") as f:
                text = f.read()
            try:
                return json.loads(text)
            except ValueError:
                raise Refused(f"the client failed: {self.process.log_tail(300) or 'it said nothing'}") from None
        finally:
            self.close()

    def close(self):
        if self.notified is not None:
            os.close(self.notified)
            self.notified = None
            self.lab.stop(self.process)
            for path in (self.report_path, self.process.log):
                if os.path.exists(path):
                    os.unlink(path)

    def check(self, found):
        """Refuses a run with an error, or one that was about something else than it should have been."""
        if found["errors"]["total"]:
            kinds = ", ".join(f"{count} {kind}" for kind, count in found["errors"]["kinds"].items())
            details = "; ".join(found["errors"]["details"].values())
            end = "" if self.running.process.is_running() else f"; {self.running.process.how_it_ended()}"
            raise Refused(f"{found['errors']['total']} errors: {kinds}{f' ({details})' if details else ''}{end}")
        for kind in found["tls"]:
            wanted = (f"TLSv{self.tls}", GROUP, KEYS[self.key])
            got = (kind["version"], kind["group"], kind["key"])
            if kind["resumed"] and self.tls == "1.2":  # the session says neither
                wanted, got = wanted[:1], got[:1]
            if got != wanted or kind["suite"] not in self.suites:
                raise Refused(f"agreed on {', '.join(got)}, {kind['suite']}: not comparable")
        resumed = any(kind["resumed"] for kind in found["tls"])
        if resumed and not self.is_resumed:
            raise Refused("sessions were resumed")
        if self.is_resumed and not resumed and found["units"]["whole_run"]:
            raise Refused("no session was resumed")
        return found


def threads_default(lab):
    """Half of the CPUs that client and backend share."""
    return max(1, min(8, len(lab.other_cpus) // 2))
