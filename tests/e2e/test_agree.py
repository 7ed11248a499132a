# SPDX-License-Identifier: Apache-2.0
"""That ringbolt-bench counts what wrk, h2load, `openssl s_time` and the servers' logs count. Speed means nothing here."""
import json
import os
import re
import shutil
import subprocess

import pytest

import load
import ringbolt

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CLIENTS = {"requests": {"ringbolt-bench", "wrk", "h2load"}, "full": {"ringbolt-bench", "s_time"}, "resumed-12": {"ringbolt-bench", "s_time"},
           "resumed-13": {"ringbolt-bench", "s_time"}}

pytestmark = [pytest.mark.any_layer, pytest.mark.seconds(300)]


def agree(*arguments, **options):
    for program in ("wrk", "h2load"):
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed: scripts/install-deps bench")
    return subprocess.run([os.path.join(ROOT, "bench", "agree"), "--bench", load.find(), "--rounds", "1", "--connections", "8", *arguments],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False, **options)


@pytest.fixture
def proxied(start, nginx):
    return start({"http": [nginx.tcp]}, config={"log": {"format": "json", "failures_per_second": 0}})


def ended(proxied, count, since, resets=False):
    """How the log tells of `count` connections that ended, all of them shaken hands. resets: their clients reset them; one whose last word was its
    handshake's may have taken that back before the proxy came to read it. Lines that nobody was there to read in time are counted by the log."""
    lines, lost = [], 0

    def enough(entry):
        nonlocal lost
        lines.extend([entry] if entry["message"] == "connection" else [])
        lost += entry["count"] if entry["message"] == "log lines lost" else 0
        return len(lines) + lost >= count

    proxied.proxy.wait_for_log(enough, since)
    assert len(lines) + lost == count
    unheard = [line for line in lines if not line.get("tls")]
    assert all(resets and line["end"] == "client_reset" for line in unheard), unheard
    assert sum(line["message"] != "log lines lost" for line in proxied.proxy.lines[since:]) == len(lines), proxied.proxy.log_text(since)
    return [line for line in lines if line.get("tls")]


# ---- nginx's log

def test_counts_agree_with_the_log(tmp_path):
    path = str(tmp_path / "report.json")
    for seconds in ("0.3", "3", "20"):
        done = agree("--seconds", seconds, "--only", *CLIENTS, "--json", path)
        if "has done nothing in that time" not in done.stderr:
            break  # else it is a slow machine
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert not done.stderr and "DIFFERS" not in done.stdout
    with open(path, encoding="utf-8") as f:
        results = json.load(f)["results"]
    assert {work: {r["client"] for r in results if r["work"] == work} for work in CLIENTS} == CLIENTS
    for result in results:
        for turn in result["rounds"]:
            assert turn["reported"] > 0 and result["agrees"] is turn["agrees"] is True
            # wrk stops with requests under way: the server may have answered one more on each connection.
            most = turn["expected"] + (8 if result["client"] == "wrk" else 0)
            assert turn["expected"] <= turn["counted"] <= most, (result["work"], result["client"], turn)


@pytest.mark.parametrize("work,program", [("requests", "h2load"), ("full", "openssl")])
def test_a_client_that_miscounts_is_found(tmp_path, work, program):
    """One that does everything twice and tells of one of them."""
    path = tmp_path / program
    real = shutil.which(program)
    path.write_text(f'#!/bin/sh\ncase "$1" in req) ;; *) "{real}" "$@" >/dev/null || exit;; esac\nexec "{real}" "$@"\n', encoding="utf-8")
    path.chmod(0o755)
    done = agree("--seconds", "0.3", "--only", work, env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"})
    assert done.returncode == 1, (done.stdout, done.stderr)
    assert done.stdout.count("DIFFERS") == 1 and "ringbolt-bench" not in done.stderr
    reported, counted = re.search(r"reported (\d+), .* it counted (\d+)$", done.stderr.strip()).groups()
    assert int(counted) > int(reported)


def test_wrong_usage():
    for arguments in (["--only", "nothing"], ["--rounds", "0"], ["--bench", "/nowhere"]):
        assert agree(*arguments).returncode == 2


# ---- Ringbolt's log

@pytest.mark.parametrize("records", ["ringbolt", "openssl"])
@pytest.mark.parametrize("version,resume", [("1.3", False), ("1.2", False), ("1.2", True)], ids=["13", "12", "12-resumed"])
def test_handshakes_without_goodbye(proxied, certificates, records, version, resume):
    since = proxied.proxy.mark()
    found = load.report("handshakes", f"localhost:{proxied['http'].number}", "--ca", certificates.ca, "--tls", version, "--records", records,
                        "--no-goodbye", "--count", 40, "--connections", 3, *(["--resume"] if resume else []))
    assert found["errors"]["total"] == 0 and found["units"]["whole_run"] == found["units"]["count"] == 40
    lines = ended(proxied, found["connections"]["handshakes"], since)
    assert sum(line["resumed"] for line in lines) == (40 if resume else 0)
    # Nobody said goodbye.
    assert not [line["end"] for line in lines if line["end"] == "done"]


def test_no_goodbye_is_refused_where_it_has_no_meaning():
    for arguments, complaint in ((["requests"], "--no-goodbye is for handshakes"), (["handshakes", "--resume"], "needs --tls 1.2"),
                                 (["handshakes", "--resume", "--tls", "1.3"], "needs --tls 1.2")):
        done = load.call(*arguments, "127.0.0.1:1", "--no-goodbye")
        assert done.returncode == 2 and complaint in done.stderr.decode(), (arguments, done)


@pytest.mark.parametrize("options,resumed", [(["-new", "-tls1_3"], False), (["-new", "-tls1_2"], False), (["-reuse", "-tls1_2"], True)],
                         ids=["13", "12", "12-resumed"])
def test_s_time_against_ringbolt(proxied, options, resumed):
    since = proxied.proxy.mark()
    done = subprocess.run(["openssl", "s_time", "-connect", proxied["http"].port.text, *options, "-time", "1", "-no-CAfile", "-no-CApath",
                           "-no-CAstore"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=ringbolt.WAIT, check=False)
    assert done.returncode == 0, done.stdout
    count = int(re.search(r"(\d+) connections in \d+ real seconds", done.stdout).group(1))
    assert count > 0
    lines = ended(proxied, count + resumed, since, resets=True)  # the first of those that are resumed is not counted
    assert sum(line["resumed"] for line in lines) >= len(lines) - 1 if resumed else not any(line["resumed"] for line in lines)
