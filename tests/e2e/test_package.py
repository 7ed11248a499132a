# SPDX-License-Identifier: Apache-2.0
"""The Debian packaging agrees with the rest of the tree. That packages can be built and installed, tests/package shows."""
import os
import re

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
pytestmark = pytest.mark.any_layer

# What a package's build has anyway: build-essential, and what meson brings.
ESSENTIAL = {"gcc", "libc6-dev", "ninja-build"}


def read(*path):
    with open(os.path.join(ROOT, *path), encoding="utf-8") as f:
        return f.read()


def test_what_the_build_needs_is_one_list():
    installed = set(re.findall(r"^build (\S+) ", read("scripts", "install-deps"), re.MULTILINE))
    field = re.search(r"^Build-Depends:(.*?)^\S", read("debian", "control"), re.MULTILINE | re.DOTALL).group(1)
    needed = {entry.split()[0] for entry in field.split(",")}
    assert installed - ESSENTIAL == needed - {"debhelper-compat", "systemd-dev"}


def test_one_version():
    version = re.search(r"version: '([^']+)'", read("meson.build")).group(1)
    assert re.match(r"ringbolt \(([^)]+)\)", read("debian", "changelog")).group(1) == version
