# SPDX-License-Identifier: Apache-2.0
"""What Ringbolt serves over HTTP about itself, and a lint of Prometheus' text format."""
import http.client
import json
import math
import re

import ringbolt

NAME = re.compile(r"[a-z][a-z0-9_]*")
LINE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(.*)\})? (\S+)")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(,|$)')
SUFFIXES = ("_bucket", "_sum", "_count")


def fetch(address, path, method="GET", headers=None, body=None):
    """(status, headers, body)"""
    connection = http.client.HTTPConnection(*address, timeout=ringbolt.WAIT)
    try:
        connection.request(method, path, body=body, headers=headers or {})
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()
    finally:
        connection.close()


def labels_parse(text):
    labels, at = {}, 0
    while at < len(text):
        match = LABEL.match(text, at)
        assert match, f"bad labels: {text}"
        name, value, at = match.group(1), match.group(2), match.end()
        assert name not in labels, f"a label twice: {text}"
        labels[name] = re.sub(r"\\(.)", lambda m: "\n" if m.group(1) == "n" else m.group(1), value)
    return labels


class Metrics:
    """/metrics, taken apart; everything that promtool would complain about, and more, is an assertion."""

    def __init__(self, text):
        self.text, self.types, self.series = text, {}, {}
        helped, family = set(), None
        assert text.endswith("\n") and "\n\n" not in text
        for line in text[:-1].split("\n"):
            if line.startswith("# HELP "):
                family = line.split(" ", 3)[2]
                assert family not in helped, f"{family} comes twice"
                assert len(line.split(" ", 3)[3]) > 10 and line.endswith("."), line
                helped.add(family)
            elif line.startswith("# TYPE "):
                name, kind = line.split(" ")[2:]
                assert name == family and kind in ("counter", "gauge", "histogram"), line
                self.types[name] = kind
            else:
                self._series(line, family)
        assert helped == self.types.keys()
        for name, kind in self.types.items():
            assert NAME.fullmatch(name) and name.startswith("ringbolt_"), name
            assert name.endswith("_total") == (kind == "counter"), name
            assert not name.endswith(SUFFIXES), name
            if kind == "histogram":
                assert name.endswith("_seconds"), name
                self._histogram(name)

    def _series(self, line, family):
        match = LINE.fullmatch(line)
        assert match, f"no series: {line}"
        name, labels, value = match.group(1), labels_parse(match.group(3) or ""), float(match.group(4))
        assert match.group(2) != "{}" and not math.isnan(value), line
        if self.types[family] == "histogram":
            assert name in [family + suffix for suffix in SUFFIXES] and ("le" in labels) == name.endswith("_bucket"), line
        else:
            assert name == family and "le" not in labels, line
        assert value >= 0 and (self.types[family] == "gauge" or name.endswith(("_sum", "_seconds_total")) or value == int(value)), line
        key = (name, frozenset(labels.items()))
        assert key not in self.series, f"comes twice: {line}"
        self.series[key] = value

    def _histogram(self, name):
        sets = {frozenset(pair for pair in labels if pair[0] != "le") for found, labels in self.series if found == name + "_bucket"}
        for labels in sets:
            buckets = sorted((float(dict(key[1])["le"]), value) for key, value in self.series.items()
                             if key[0] == name + "_bucket" and labels < key[1])
            assert len(buckets) > 3 and buckets[-1][0] == math.inf
            assert all(a[1] <= b[1] for a, b in zip(buckets, buckets[1:])), f"{name} {labels}: buckets are not cumulative"
            assert self.series[(name + "_count", labels)] == buckets[-1][1]
            assert (self.series[(name + "_sum", labels)] > 0) == (buckets[-1][1] > 0)

    def get(self, name, /, **labels):
        return self.series[(name, frozenset(labels.items()))]

    def sum(self, name, /, **labels):
        """Over every series that has these labels."""
        found = [value for key, value in self.series.items() if key[0] == name and labels.items() <= dict(key[1]).items()]
        assert found, f"no series {name} {labels}"
        return sum(found)

    def others(self, name, /, *skipped):
        """Values other than 0 by their labels, as one dictionary of dictionaries would be too deep: {(values…): number}."""
        return {tuple(value for key, value in sorted(labels) if key not in skipped): number
                for (found, labels), number in self.series.items() if found == name and number != 0}


class Watched:
    """A stage whose metrics are served."""

    def __init__(self, stage):
        self.stage = stage
        line = stage.proxy.wait_for_log(lambda e: e["message"] == "metrics")
        host, port = line["address"].rsplit(":", 1)
        self.address = host.strip("[]"), int(port)

    def fetch(self, path, **options):
        return fetch(self.address, path, **options)

    def metrics(self):
        status, headers, body = self.fetch("/metrics")
        assert status == 200 and headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8", (status, headers)
        return Metrics(body.decode())

    def status(self):
        status, headers, body = self.fetch("/status.json")
        assert status == 200 and headers["Content-Type"] == "application/json", (status, headers)
        return json.loads(body)

    def until(self, condition, what):
        """Metrics that the condition likes."""
        found = []

        def looks_good():
            found[:] = [self.metrics()]
            return condition(found[0])

        ringbolt.wait_until(looks_good, what)
        return found[0]

    def http_pid(self):
        """The process that serves them."""
        for pid in self.stage.proxy.workers():
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                if b"status-http" in f.read():
                    return pid
        return None
