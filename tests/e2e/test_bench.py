# SPDX-License-Identifier: Apache-2.0
"""That the benchmarks run; their figures mean nothing here."""
import json
import os
import shutil
import subprocess

import pytest

import ringbolt

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

pytestmark = pytest.mark.any_layer


@pytest.mark.parametrize("peer", ["ringbolt", "haproxy"])
def test_certificates(tmp_path, peer):
    if not shutil.which(peer) and peer != "ringbolt":
        pytest.skip(f"{peer} is not installed: scripts/install-deps bench")
    path = str(tmp_path / "report.json")
    done = subprocess.run([os.path.join(ROOT, "bench", "certificates"), "--ringbolt", ringbolt.BINARY, "--only", peer, "--names", "20",
                           "--changes", "2", "--rounds", "1", "--json", path], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, done.stdout
    with open(path, encoding="utf-8") as f:
        result = json.load(f)["results"][peer]
    assert result["memory_loaded"]["pss"] > 0 and result["change_seconds"]["max"] < 120
