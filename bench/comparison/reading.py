# SPDX-License-Identifier: Apache-2.0
"""A report as people read it: which figures count, who is the best peer, how a number is written. Table and page share it, so that
they say the same. It takes reports as they come: without peers, with works that are missing, with values that are null."""
import datetime
import math
import re
from typing import NamedTuple, Optional

NAMES = {"ringbolt": "Ringbolt", "haproxy": "HAProxy", "openssl": "OpenSSL"}
ROLES = {"ours": "Ringbolt", "peer": "peer", "floor": "plain relay, no TLS"}


def finite(value):
    """The number, or None for whatever isn't one."""
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) else None


def number(value):
    """Three figures that mean something, thousands apart: 12,345, 91.2, 0.613."""
    if value is None:
        return "–"
    size = abs(value)
    if size >= 99.95 or value == int(value):
        return f"{value:,.0f}"
    if size >= 9.995:
        return f"{value:.1f}"
    if size >= 0.9995:
        return f"{value:.2f}"
    return f"{value:.{2 - math.floor(math.log10(size))}f}" if size >= 1e-6 else f"{value:.2g}"


def amount(value, metric):
    """With its unit: 910 µs, 31,103/s, 3."""
    unit = metric.get("unit") or ""
    if value is None or unit == "count":
        return number(value)
    return number(value) + (unit[1:] if unit.startswith("1/") else f" {unit}")


def unit_of(metric):
    """µs per handshake"""
    unit = {"count": "", "1/s": "per second"}.get(metric.get("unit"), metric.get("unit") or "")
    return f"{unit} per {metric['per']}" if metric.get("per") else unit


def times(ratio):
    return "–" if ratio is None else f"{ratio:.2f}×"


def percentile(metric):
    """p99.9 for the metric p999, None for one that is no percentile."""
    found = re.fullmatch(r"p(\d\d)(\d*)", str(metric["id"]))
    return found and f"p{found[1]}" + (f".{found[2]}" if found[2] else "")


def moment(text):
    """A datetime, or None."""
    try:
        return datetime.datetime.strptime(str(text), "%Y-%m-%dT%H:%M:%SZ")
    except ValueError:
        return None


def when(report):
    """2026-11-21, 12:00 to 12:38 UTC"""
    begun, ended = moment(report.get("begun")), moment(report.get("ended"))
    if not begun or not ended:
        return f"{report.get('begun') or 'at an unknown time'}"
    day = "%Y-%m-%d, %H:%M"
    return f"{begun.strftime(day)} to {ended.strftime('%H:%M' if begun.date() == ended.date() else day)} UTC"


def listed(words, between=", "):
    """a, b and c"""
    words = list(words)
    return f"{between.join(words[:-1])} and {words[-1]}" if len(words) > 1 else "".join(words)


def names_listed(names):
    """Names of proxies, which have commas in them."""
    return listed(names, "; ")


class Figure(NamedTuple):
    """Of one metric: the median of rounds, the least and the most, each round (None: left out), and why it may not be compared."""
    median: float
    least: float
    most: float
    rounds: list
    limit: Optional[str]


class Line:
    """One proxy in one work. refused: why none of its figures counts; it then has none here."""

    def __init__(self, proxy, result):
        self.proxy, self.name, self.role = proxy, proxy.get("name") or proxy["id"], proxy.get("role")
        self.refused, self.limits = result.get("refused"), result.get("limits") or {}
        self.metrics = {} if self.refused else result.get("metrics") or {}

    def figure(self, metric):
        found = self.metrics.get(metric["id"]) or {}
        median = finite(found.get("median"))
        if median is None:
            return None
        least, most = (finite(found.get(name)) for name in ("min", "max"))
        return Figure(median, median if least is None else least, median if most is None else most,
                      [finite(value) for value in found.get("rounds") or []], self.limits.get(metric["id"]))


class Limit(NamedTuple):
    """Why some metrics of some proxies may not be compared."""
    why: str
    metrics: list
    names: list


class Work:
    def __init__(self, work, proxies):
        self.id, self.title, self.about = work["id"], work.get("title") or work["id"], work.get("about") or ""
        self.metrics = work.get("metrics") or []
        self.headline = next((one for one in self.metrics if one["id"] == work.get("headline")), self.metrics[0] if self.metrics else None)
        results = work.get("results") or {}
        known = {proxy["id"]: proxy for proxy in proxies}
        lines = [Line(known.get(ident, {"id": ident}), result or {}) for ident, result in results.items()]
        self.lines = sorted(lines, key=self._rank)
        self.absent = [proxy.get("name") or proxy["id"] for proxy in proxies if proxy["id"] not in results]

    def _rank(self, line):
        """Best first, then who has no figure, then who was refused."""
        figure = self.headline and line.figure(self.headline)
        if not figure:
            return (2 if line.refused else 1, 0, line.name)
        return (0, -figure.median if self.headline.get("better") == "more" else figure.median, line.name)

    def best_peer(self, metric):
        """(line, figure), or None."""
        found = [(line, line.figure(metric)) for line in self.lines if line.role == "peer" and line.figure(metric)]
        pick = max if metric.get("better") == "more" else min
        return pick(found, key=lambda one: one[1].median, default=None)

    def ratio(self, line, metric):
        """To the best peer; None where one of both may not be compared."""
        figure, best = line.figure(metric), self.best_peer(metric)
        if not figure or not best or figure.limit or best[1].limit or best[1].median <= 0:
            return None
        return figure.median / best[1].median

    def limits(self, metrics=None):
        """Those of these metrics, gathered: one proxy after the other would say the same thing many times."""
        gathered = {}
        for line in self.lines:
            reasons = {}
            for metric in metrics or self.metrics:
                figure = line.figure(metric)
                if figure and figure.limit:
                    reasons.setdefault(figure.limit, []).append(metric["id"])
            for why, idents in reasons.items():
                gathered.setdefault((why, tuple(idents)), []).append(line.name)
        return [Limit(why, [one for one in self.metrics if one["id"] in idents], names) for (why, idents), names in gathered.items()]


class Reading:
    def __init__(self, report):
        self.report = report
        self.proxies = report.get("proxies") or []
        self.names = {proxy["id"]: proxy.get("name") or proxy["id"] for proxy in self.proxies}
        self.works = [Work(work, self.proxies) for work in report.get("works") or []]
        self.targets = report.get("targets") or []
        self.disturbances, self.doubts = report.get("disturbances") or [], report.get("doubts") or []
        self.missing, self.versions = report.get("missing") or [], report.get("versions") or {}
        self.machine = report.get("machine") or {}

    def products(self, role):
        """Each once, in the report's order."""
        return list(dict.fromkeys(str(proxy.get("product") or proxy["id"]) for proxy in self.proxies if proxy.get("role") == role))

    def versioned(self, product, is_short=False):
        """is_short: without the distribution's part of the version."""
        version = str(self.versions.get(product) or "")
        version = version.partition("-")[0] if is_short else version
        return NAMES.get(product, product) + (f" {version}" if version else "")

    def refusals(self):
        return [(work, line) for work in self.works for line in work.lines if line.refused]

    def uncompared(self):
        """Works in which Ringbolt or all peers have no figure that counts: what could have been a target there is none."""
        if not self.products("ours") or not self.products("peer"):
            return []
        return [work for work in self.works if work.headline
                and not all(any(line.role == role and line.figure(work.headline) for line in work.lines) for role in ("ours", "peer"))]

    def target_metric(self, target):
        """The metric that a target is about, or one without a unit when the report doesn't have it."""
        work = next((work for work in self.works if work.id == target.get("work")), None)
        return next((one for one in work.metrics if one["id"] == target.get("metric")), {}) if work else {}

    def target_of(self, work, metric):
        return next((one for one in self.targets if (one.get("work"), one.get("metric")) == (work.id, metric["id"])), None)

    def goal(self, target):
        """The value that ours may have at most, or None."""
        limit, (_, value) = finite(target.get("limit")), self.side(target, "peer")
        return None if limit is None or value is None else limit * value

    def side(self, target, name):
        """(who, with which value) for "ours" and "peer"."""
        found = target.get(name) or {}
        ident = found.get("proxy")
        return self.names.get(ident, ident or "nobody"), finite(found.get("value"))


def verdict(target):
    """(sign, word)"""
    return {True: ("✓", "met"), False: ("✗", "not met")}.get(target.get("met"), ("?", "undecided"))


def repeats(one):
    return "measured again" if one.get("repeated") else "left out"
