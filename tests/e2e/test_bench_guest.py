# SPDX-License-Identifier: Apache-2.0
"""That bench/guest does what it says, without its guest: on the clock of this machine its figures mean nothing."""
import json
import os
import shutil
import subprocess
import sys

import pytest

import ringbolt

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "bench"))

from guest_model import report, works  # noqa: E402
from guest_model.inside import MARK  # noqa: E402
from guest_model.paths import PATHS  # noqa: E402

pytestmark = pytest.mark.any_layer


def inside(*arguments):
    """What it says when it is not in a guest but here: its lines as objects."""
    done = subprocess.run([os.path.join(ROOT, "bench", "guest"), "--inside", "--ringbolt", ringbolt.BINARY, "--rounds", "1", "--megabytes", "2",
                           "--requests", "128", "--handshakes", "3", *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, done.stdout
    return [json.loads(line[len(MARK):]) for line in done.stdout.splitlines() if line.startswith(MARK)]


@pytest.mark.parametrize("path,peer", [("ringbolt user", None), ("nginx large", "nginx"), ("haproxy large", "haproxy")])
def test_bulk(path, peer):
    for program in filter(None, ("nginx", peer)):
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed: scripts/install-deps bench")
    *results, end = inside("--paths", path, "--works", "download", "upload")
    assert end["done"]
    assert [(one["tls"], one["work"], len(one["rounds"])) for one in results] == [
        (tls, work, 1) for tls in ("1.3", "1.2") for work in ("download", "upload")]
    assert all(one["rounds"][0]["kernel_transmit"] == one["rounds"][0]["kernel_receive"] == 0 for one in results)


def test_short_works():
    if not shutil.which("nginx"):
        pytest.skip("nginx is not installed: scripts/install-deps bench")
    names = ["request", "requests", "handshake", "resumed", "object-64k"]
    *results, end = inside("--paths", "ringbolt user", "--tls", "1.3", "--works", *names)
    assert end["done"] and [one["work"] for one in results] == names
    assert all(len(one.get("rounds", [])) == 1 for one in results), "none was refused"


@pytest.mark.parametrize("path,transmit,receive,why", [
    ("ringbolt user", 1, 0, "1 of 2 connections moved into the kernel to transmit"),
    ("nginx", 0, 2, "2 of 2 connections moved into the kernel to receive"),
    ("ringbolt kernel both", 2, 1, "1 of 2 connections moved into the kernel to receive"),
    ("nginx kTLS", 0, 0, "0 of 2 connections moved into the kernel to transmit"),
])
def test_refusal(path, transmit, receive, why):
    """A path that did not do what its name says is no result."""
    with pytest.raises(works.Refused, match=why):
        works.check_kernel(PATHS[path], works.WORKS["download"], {"connections": {"handshakes": 2}},
                           {"kernel_transmit": transmit, "kernel_receive": receive})


def test_report():
    """The best peer is the cheapest whose records stayed in user space; shares come from the other boot."""
    def measured(path, *sums, kernel=0):
        return {"tls": "1.3", "path": path, "work": "download",
                "rounds": [{"proxy": one, "everybody": 2 * one, "user": one / 4, "accounted": one, "kernel_transmit": kernel,
                            "kernel_receive": kernel} for one in sums]}

    sums = [measured("ringbolt user", 2e9, 3e9, 2.5e9), measured("nginx", 6e9), measured("haproxy", 5e9),
            measured("nginx kTLS", 1e9, kernel=1), {"tls": "1.3", "path": "nginx large", "work": "download", "refused": "no"}]
    paths = report.summarise(sums, [measured("ringbolt user", 8e9)])["1.3"]["download"]
    assert paths["ringbolt user"]["median"] == 2.5e9 and paths["ringbolt user"]["of_best_peer"] == 0.5
    assert (paths["ringbolt user"]["user"], paths["ringbolt user"]["system"]) == (0.625e9, 1.875e9)
    assert paths["nginx kTLS"]["of_best_peer"] == 0.2
    assert "refused: no" in report.line("nginx large", paths["nginx large"])
