# SPDX-License-Identifier: Apache-2.0
"""The service files: what systemd thinks of them, and a real systemd that runs them."""
import os
import re
import shutil
import subprocess

import pytest

import ringbolt
import systemd_machine

pytestmark = pytest.mark.any_layer

UNIT = os.path.join(os.path.dirname(os.path.abspath(ringbolt.BINARY)), "conf", "ringbolt.service")
STEPS = [name[5:] for name in vars(systemd_machine) if name.startswith("step_")]

needs_analyze = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")


@needs_analyze
def test_exposure_is_below_2():
    done = subprocess.run(["systemd-analyze", "security", "--offline=true", "--no-pager", UNIT], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False)
    found = re.search(r"Overall exposure level for \S+: (\d+\.\d+)", done.stdout)
    assert found and float(found.group(1)) < 2.0, done.stdout


@needs_analyze
def test_units_are_understood(tmp_path):
    with open(UNIT, encoding="utf-8") as f:
        text = f.read()
    # The program and its manual are not installed here.
    program = tmp_path / "program"  # without a space, whatever this folder is called
    program.symlink_to(os.path.abspath(ringbolt.BINARY))
    text = re.sub(r"/\S*/ringbolt (run|reload)", lambda match: f"{program} {match.group(1)}", text)
    (tmp_path / "ringbolt.service").write_text(re.sub("Documentation=.*\n", "", text))
    shutil.copy(os.path.join(systemd_machine.ROOT, "conf", "systemd", "examples", "ringbolt.socket"), tmp_path)
    done = subprocess.run(["systemd-analyze", "verify", str(tmp_path / "ringbolt.service"), str(tmp_path / "ringbolt.socket")],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    said = [line for line in done.stdout.splitlines() if "ringbolt" in line]
    assert done.returncode == 0 and not said, done.stdout


@pytest.mark.seconds(150)
def test_systemd(tmp_path):
    """One machine for all steps: it takes a while to boot, and they build upon each other."""
    why = systemd_machine.why_not()
    if why:
        pytest.skip(why)
    steps, said = systemd_machine.run(os.path.abspath(ringbolt.BINARY), str(tmp_path))
    bad = [f"{name}: {step['why']}" for name, step in steps.items() if not step["good"]]
    assert not bad, "\n".join(bad) + said[-3000:]
    assert list(steps) == STEPS, "the machine did not come so far:\n" + said[-6000:]
