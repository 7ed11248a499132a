# SPDX-License-Identifier: Apache-2.0
"""bench/flood: that every attack takes place and every figure comes out. What they are means nothing here."""
import json
import os
import subprocess

import pytest

import load
import ringbolt

PROGRAM = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "bench", "flood")

pytestmark = [pytest.mark.any_layer, pytest.mark.seconds(300)]


def test_flood(tmp_path):
    done = subprocess.run([PROGRAM, "--ringbolt", ringbolt.BINARY, "--bench", load.find(), "--rounds", "1", "--seconds", "1", "--json",
                           "found.json"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
                          timeout=280, check=False)
    assert done.returncode == 0 and not done.stderr, done.stderr
    lines = done.stdout.splitlines()[1:]
    assert [line[:44].strip() for line in lines] == ["quiet"] + [attack + more for attack in ("flood", "half-open", "readers")
                                                                for more in ("", ", limits for clients")]
    with open(tmp_path / "found.json", encoding="utf-8") as f:
        found = json.load(f)
    assert len(found) == 7 and all(0 < median <= p99 for case in found for median, p99 in case["rounds"])


def test_no_proxy(tmp_path):
    done = subprocess.run([PROGRAM, "--ringbolt", str(tmp_path / "none"), "--bench", load.find()], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=100, check=False)
    assert done.returncode == 1 and done.stderr.startswith("bench/flood: ") and "Traceback" not in done.stderr
