# SPDX-License-Identifier: Apache-2.0
"""Every proxy once, then every proxy again in another order: what slows the machine for a while then meets all of them.

A measure that was disturbed (meter.py) is made again up to twice if there is time for it, then that round is without a figure. An error in
a measure refuses the proxy for the whole work: a proxy that fails some of its work can't be compared with one that does it all.
"""
import statistics
import sys
import time

from .client import Refused
from .lab import Trouble
from .proxies import FLOOR
from .works import Figures, Nothing

ATTEMPTS = 3


class Progress:
    """One line on a terminal, nothing elsewhere."""

    def __init__(self, stream, seconds):
        self.stream, self.seconds, self.began = stream, seconds, time.monotonic()
        self.is_shown = stream.isatty()

    def show(self, text):
        if self.is_shown:
            gone = time.monotonic() - self.began
            self.stream.write(f"\r\033[K{clock(gone)} of about {clock(max(self.seconds, gone))}  {text}")
            self.stream.flush()

    def end(self):
        if self.is_shown:
            self.stream.write("\r\033[K")
            self.stream.flush()


def clock(seconds):
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


class Result:
    """Of one proxy in one work."""

    def __init__(self):
        self.rounds, self.refused, self.verified = [], None, 0

    def describe(self, metrics):
        good = [figures for figures in self.rounds if figures]
        refused = self.refused
        if not refused and 2 * len(good) < max(1, len(self.rounds)):
            refused = f"disturbed in {len(self.rounds) - len(good)} of {len(self.rounds)} rounds"
        limits = {}
        for metric in metrics:
            why = [figures.limits[metric["id"]] for figures in good if metric["id"] in figures.limits]
            if why:
                limits[metric["id"]] = f"{statistics.mode(why)} in {len(why)} of {len(good)} rounds"
        return {"metrics": {metric["id"]: summary(metric["id"], self.rounds) for metric in metrics
                            if any(metric["id"] in figures.values for figures in good)},
                "limits": limits, "refused": refused, "verified_bytes": self.verified}


def summary(name, rounds):
    values = [figures.values.get(name) if figures else None for figures in rounds]
    good = [value for value in values if value is not None]
    return {"median": statistics.median(good), "min": min(good), "max": max(good), "rounds": values}


def order(proxies, number):
    """Of that round: every other one backwards, and each begins with somebody else."""
    shift = (number * (len(proxies) // 3 + 1)) % max(1, len(proxies))
    turned = proxies[shift:] + proxies[:shift]
    return turned[::-1] if number % 2 else turned


class Schedule:
    """Runs works. budget: seconds in which all should be done; what is made again must fit in beside what is still to be done."""

    def __init__(self, lab, plan, proxies, rounds, budget, stream=sys.stderr):
        self.lab, self.plan, self.proxies, self.rounds, self.budget = lab, plan, proxies, rounds, budget
        self.disturbances, self.progress = [], Progress(stream, 0)
        self.began, self.planned, self.done, self.again = time.monotonic(), 0, 0, 0  # seconds, the last three

    def rounds_of(self, work):
        """Memory repeats to the byte or nearly so, and opening so many connections takes long."""
        return (self.rounds + 2) // 3 if work.id == "idle" else self.rounds

    def seconds_estimated(self, works):
        return sum(self.rounds_of(work) * work.seconds_estimated(self.plan) for work in works for proxy in self.proxies
                   if work.applies(proxy))

    def has_time(self, work):
        """To make a measure of this work again. The machine may be slower than what was planned: it has shown how much."""
        gone = time.monotonic() - self.began
        pace = max(1, (gone - self.again) / self.done) if self.done else 1
        return gone + pace * (self.planned - self.done + work.seconds_estimated(self.plan)) < self.budget

    def run(self, works):
        """{work.id: {proxy.id: what the report says of it}}"""
        self.planned = self.progress.seconds = self.seconds_estimated(works)
        described = {}
        try:
            for number, work in enumerate(works, 1):
                if work.needs:
                    self.plan.rate = rate_of(described.get(work.needs, {}), self.proxies)
                results = self.run_work(work, f"work {number} of {len(works)}: {work.id}")
                described[work.id] = {ident: result.describe(work.metrics) for ident, result in results.items()}
        finally:
            self.progress.end()
        return described

    def run_work(self, work, title):
        proxies = [proxy for proxy in self.proxies if work.applies(proxy)]
        results = {proxy.id: Result() for proxy in proxies}
        running = {}
        try:
            if work.needs and not self.plan.rate:
                for result in results.values():
                    result.refused = f"{work.needs} has no figure to choose the rate by"
            for proxy in proxies:
                if not work.is_fresh and not results[proxy.id].refused:
                    self.progress.show(f"{title}, starting {proxy.id}")
                    self.start(work, proxy, running, results[proxy.id])
            for number in range(self.rounds_of(work)):
                for proxy in order(proxies, number):
                    result = results[proxy.id]
                    self.done += work.seconds_estimated(self.plan)
                    if result.refused:
                        result.rounds.append(None)
                        continue
                    self.progress.show(f"{title}, round {number + 1} of {self.rounds_of(work)}, {proxy.id}")
                    result.rounds.append(self.measure(work, proxy, running, result, number + 1))
        finally:
            for one in running.values():
                one.stop()
        return results

    def start(self, work, proxy, running, result):
        try:
            running[proxy.id] = work.start(self.lab, proxy)
            result.verified += work.verify(self.lab, running[proxy.id])
        except (Trouble, Refused) as why:
            result.refused = str(why)

    def measure(self, work, proxy, running, result, number):
        """The figures, or None: then result.refused or a disturbance says why."""
        for attempt in range(1, ATTEMPTS + 1):
            began = time.monotonic()
            try:
                if work.is_fresh:
                    self.start(work, proxy, running, result)
                    if result.refused:
                        return None
                figures = self.figures(work, running[proxy.id])
            except Refused as why:
                result.refused = f"round {number}: {why}"
                return None
            finally:
                if work.is_fresh and proxy.id in running:
                    running.pop(proxy.id).stop()
                if attempt > 1:
                    self.again += time.monotonic() - began
            if not figures.disturbed:
                return figures
            is_repeated = attempt < ATTEMPTS and self.has_time(work)
            self.disturbances.append({"work": work.id, "proxy": proxy.id, "round": number, "what": figures.disturbed,
                                      "repeated": is_repeated})
            if not is_repeated:
                return None
        return None

    def figures(self, work, running):
        try:
            return work.measure(self.lab, running, self.plan)
        except Nothing as nothing:
            if not nothing.disturbed:
                raise
            return Figures({}, disturbed=nothing.disturbed)


def rate_of(results, proxies):
    """Half of what the slowest did, of those that terminate TLS; None when nobody has a figure."""
    speeds = [results[proxy.id]["metrics"]["throughput"]["median"] for proxy in proxies
              if proxy.role != FLOOR and proxy.id in results and not results[proxy.id]["refused"]
              and "throughput" in results[proxy.id]["metrics"]]
    return max(1, int(min(speeds) / 2)) if speeds else None
