# SPDX-License-Identifier: Apache-2.0
"""bench/reload: that every proxy is told to change and every figure comes out. What they are means nothing here, but for bytes: no proxy may make wrong ones."""
import json
import os
import subprocess

import pytest

import ringbolt
import steady

PROGRAM = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "bench", "reload")

pytestmark = [pytest.mark.any_layer, pytest.mark.seconds(300)]


def call(*arguments, **options):
    return subprocess.run([PROGRAM, "--steady", steady.find(), *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=280, check=False, **options)


def test_reload(tmp_path):
    for seconds in ("0.5", "4", "30"):
        done = call("--ringbolt", ringbolt.BINARY, "--connections", "18", "--changes", "1", "--seconds", seconds, "--limit", "0", "--json", "found.json",
                    cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        with open(tmp_path / "found.json", encoding="utf-8") as f:
            found = json.load(f)["results"]
        if all(one["new_complete"] > 0 for one in found):
            break  # else the machine is slow, and nobody new came in that time
    names = [(one["proxy"], one["change"]) for one in found]
    assert names[:2] == [("ringbolt", "reload"), ("ringbolt", "upgrade")] and len(done.stdout.splitlines()) == 2 + len(names)
    missing = [line for line in done.stderr.splitlines() if "not installed" in line or "without its stream module" in line]
    assert len(names) == 8 - 2 * len(missing), done.stderr
    assert all(one["wrong"] == 0 and one["changes"] == 1 and one["new_complete"] > 0 and one["pause_ms"] for one in found), done.stdout
    assert all(one["broken"] == 0 for one in found if one["proxy"] == "ringbolt"), done.stdout


def test_no_proxy(tmp_path):
    done = call("--ringbolt", str(tmp_path / "none"))
    assert done.returncode == 1 and done.stderr.startswith("bench/reload: ") and "Traceback" not in done.stderr
