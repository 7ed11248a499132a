# SPDX-License-Identifier: Apache-2.0
"""Runs ringbolt-steady: connections that last, of every kind, and notice everything that happens to them."""
import json
import os
import subprocess
import threading

import ringbolt

KINDS = ("down", "up", "both", "idle", "poll", "drip", "half", "rekey", "slow", "echo")
FAULTS = ("refused", "handshake", "broken", "cut", "wrong", "silent")


def find():
    """RINGBOLT_STEADY, or where meson puts it."""
    beside = os.path.dirname(os.path.abspath(ringbolt.BINARY))
    places = [os.environ.get("RINGBOLT_STEADY", ""), os.path.join(beside, "bench", "steady", "ringbolt-steady"),
              os.path.join(beside, "ringbolt-steady")]
    for place in places:
        if place and os.path.exists(place):
            return place
    raise AssertionError(f"there is no ringbolt-steady: looked in {places}")


def spread(count, kinds=KINDS):
    """So many connections, evenly of all kinds."""
    return {kind: count // len(kinds) + (1 if at < count % len(kinds) else 0) for at, kind in enumerate(kinds)}


class Server:
    """The end behind the proxy."""

    def __init__(self, certificate=None, is_proxied=False, address="127.0.0.1:0"):
        arguments = ["--address", address, *(["--tls", *certificate] if certificate else []), *(["--proxied"] if is_proxied else [])]
        self.process = subprocess.Popen([find(), "serve", *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.address = self.process.stdout.readline().strip()
        assert self.address

    def close(self):
        self.process.stdin.close()
        status = self.process.wait(ringbolt.WAIT)
        self.process.stdout.close()
        return status


class Window(dict):
    """What happened since the last mark, as ringbolt-steady told it."""

    def live(self):
        return sum(kind["live"] for name, kind in self["kinds"].items() if name != "visit")

    def complete(self):
        return {name: kind["complete"] for name, kind in self["kinds"].items()}

    def fault(self, *names):
        return sum(kind[name] for kind in self["kinds"].values() for name in names)

    def pauses(self, *kinds):
        return {name: kind["pause_us"] for name, kind in self["kinds"].items() if "pause_us" in kind and (not kinds or name in kinds)}

    def check(self):
        """Not one byte, not one connection."""
        assert self["faults"] == 0, (self["window"], self["texts"], {name: {fault: kind[fault] for fault in FAULTS if kind[fault]}
                                                                      for name, kind in self["kinds"].items()})
        return self


class Load:
    """The end in front of it: so many connections of each kind, and `visits` new ones a second."""

    def __init__(self, address, kinds, visits=0, is_proxied=False, wait=True, **options):
        wanted = {**kinds, **({"visit": visits} if visits else {})}
        self.counts = kinds
        arguments = ["--address", "{}:{}".format(*address), "--kinds", ",".join(f"{kind}={count}" for kind, count in wanted.items()),
                     *(["--proxied"] if is_proxied else [])]
        for name, value in options.items():
            arguments += [f"--{name.replace('_', '-')}", str(value)]
        self.process = subprocess.Popen([find(), "keep", *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.ready = self.wait_ready() if wait else None

    def _window(self, timeout=2 * ringbolt.WAIT):
        timer = threading.Timer(timeout, self.process.kill)
        timer.start()
        line = self.process.stdout.readline()
        timer.cancel()
        assert line, "ringbolt-steady said nothing"
        return Window(json.loads(line))

    def wait_ready(self):
        return self._window()

    def say(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def mark(self, name):
        """The window that ends here."""
        self.say(f"mark {name}")
        return self._window()

    def end(self, is_told=False):
        """Ends every connection in order: the last window. is_told: somebody has said "end" already."""
        if not is_told:
            self.say("end")
        window = self._window()
        assert self.process.wait(ringbolt.WAIT) == (1 if window["faults"] else 0)
        return window

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
