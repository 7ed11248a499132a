# SPDX-License-Identifier: Apache-2.0
"""bench/compare: that it measures what it says, refuses what doesn't count, and leaves nothing behind. How fast anybody is means
nothing here."""
import contextlib
import glob
import importlib.machinery
import io
import json
import os
import signal
import subprocess
import sys
import types

import pytest

import load
import ringbolt

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAM = os.path.join(ROOT, "bench", "compare")
sys.path.insert(0, os.path.join(ROOT, "bench"))

from comparison import machine, meter, proxies, report, rounds, works, works_other  # noqa: E402
from comparison.client import Refused  # noqa: E402
from comparison.lab import BIG_SIZE, CIPHERSUITE, SMALL_SIZE, Lab, Trouble  # noqa: E402

pytestmark = [pytest.mark.any_layer, pytest.mark.seconds(600)]

ANY_LOAD = ["--tolerate", "100"]  # others work on this machine too
BRIEF = ["--seconds", "1", *ANY_LOAD]
LISTED = ["ringbolt", "haproxy", "nginx", "hitch", "stunnel", "floor-nginx"]
WORKS = {work.id: work for work in works_other.all_works(works.Plan(1, 0, 1, 20, 0))}
PROXIES = {proxy.id: proxy for proxy in proxies.all_proxies()}


def command(*arguments):
    return [PROGRAM, "--ringbolt", ringbolt.BINARY, "--bench", load.find(), *arguments]


def compare(folder, *arguments):
    """(exit status, its report, what it printed)"""
    done = subprocess.run(command(*arguments), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          cwd=folder, timeout=540, check=False)
    assert not done.stderr, done.stderr
    with open(os.path.join(folder, "compare.json"), encoding="utf-8") as f:
        return done.returncode, json.load(f), done.stdout


def check_shape(found, works_asked, proxies_asked, count):
    """What everybody who reads a report relies on."""
    assert found["format"] == "ringbolt-compare 1" and found["rounds"] == count and found["profile"] == "custom"
    assert {proxy["id"] for proxy in found["proxies"]} | {one["id"] for one in found["missing"]} == set(proxies_asked)
    assert all(one["reason"] for one in found["missing"])
    assert all(proxy["role"] in ("ours", "peer", "floor") and proxy["settings"] for proxy in found["proxies"])
    assert [work["id"] for work in found["works"]] == works_asked
    for proxy in found["proxies"]:
        assert found["versions"][proxy["product"]]
    for work in found["works"]:
        names = [metric["id"] for metric in work["metrics"]]
        assert work["headline"] in names and work["unit"] and work["about"]
        assert all(metric["better"] in ("less", "more") and metric["unit"] and metric["title"] for metric in work["metrics"])
        assert work["results"].keys() <= {proxy["id"] for proxy in found["proxies"]}
        for result in work["results"].values():
            for name, values in result["metrics"].items():
                good = [value for value in values["rounds"] if value is not None]
                assert name in names and min(good) == values["min"] <= values["median"] <= values["max"] == max(good)
            assert result["limits"].keys() <= set(names)
    for one in found["targets"]:
        assert one["ratio"] == one["ours"]["value"] / one["peer"]["value"]
        assert one["met"] in (None, one["ratio"] <= one["limit"])


def test_a_short_comparison(tmp_path):
    asked = ["handshake-ecdsa", "request-64", "download"]
    status, found, printed = compare(tmp_path, "--works", *asked, "--proxies", *LISTED, "--rounds", "1", *BRIEF)
    check_shape(found, asked, LISTED, 1)
    for work in found["works"]:
        bytes_least = BIG_SIZE if work["id"] == "download" else SMALL_SIZE
        assert {proxy["id"] for proxy in found["proxies"]} == work["results"].keys()
        for ident, result in work["results"].items():
            assert result["refused"] is None, (work["id"], ident, result)
            assert result["verified_bytes"] >= bytes_least
            assert result["metrics"]["cpu"]["median"] > 0 and result["metrics"]["throughput"]["median"] > 0
    assert status == 0
    assert "ringbolt" in printed.lower()
    with open(tmp_path / "compare.html", encoding="utf-8") as f:
        assert "<html" in f.read().lower()


def test_the_other_works(tmp_path):
    asked = ["handshake-rsa", "resumed-13", "resumed-12", "request-64", "upload", "latency", "storm", "idle", "reload"]
    _, found, _ = compare(tmp_path, "--works", *(work for work in asked if work != "request-64"), "--proxies", "ringbolt",
                          "--connections", "70", "--rounds", "1", *BRIEF)
    check_shape(found, asked, ["ringbolt"], 1)  # latency needs request-64
    for work in found["works"]:
        result = work["results"]["ringbolt"]
        if work["id"] == "storm" and result["refused"]:  # nobody promises it the CPU for a storm
            assert result["refused"].startswith("disturbed")
            continue
        assert result["refused"] is None, (work["id"], result)
        # Too little CPU for one tick of the kernel can't be divided into user and system.
        assert result["metrics"].keys() | {"user", "system"} == {metric["id"] for metric in work["metrics"]} | {"user", "system"}
    reload, = (work["results"]["ringbolt"]["metrics"] for work in found["works"] if work["id"] == "reload")
    assert reload["broken"]["max"] == reload["failed"]["max"] == 0 < reload["handshakes"]["min"]


# ---- what doesn't count

@pytest.fixture
def lab():
    opened = Lab(ringbolt.BINARY, load.find(), len(PROXIES), 600)
    yield opened
    opened.close()
    assert not os.path.exists(opened.folder)


def plan(seconds=0.3):
    return works.Plan(seconds, 0.05, 1, 20, 0)


def run(lab, work, ident="ringbolt", count=1, seconds=0.3):
    schedule = rounds.Schedule(lab, plan(seconds), [PROXIES[ident]], count, 0, io.StringIO())
    return schedule.run([work])[work.id][ident]


def test_a_wrong_answer_is_refused(lab):
    os.unlink(lab.path("www/small"))
    found = run(lab, WORKS["request-64"])
    assert "wrong_status" in found["refused"] and found["metrics"] == {}


def test_wrong_bytes_are_refused(lab):
    with open(lab.path("www/small"), "r+b") as f:
        f.write(b"\xff\x00\xff")
    assert "wrong_bytes" in run(lab, WORKS["handshake-ecdsa"])["refused"]


def test_a_changed_upload_is_refused(lab):
    lab.check_digest = "0" * 64
    assert "wrong_status" in run(lab, WORKS["upload"])["refused"]


def test_an_error_while_measuring_is_refused(lab):
    work = WORKS["request-64"]
    running = work.start(lab, PROXIES["ringbolt"])
    assert work.verify(lab, running) == 16 * SMALL_SIZE
    os.unlink(lab.path("www/small"))
    with pytest.raises(Refused, match="wrong_status"):
        work.measure(lab, running, plan())


@pytest.mark.parametrize("ident", [ident for ident in LISTED[:-1] if not PROXIES[ident].missing(None, CIPHERSUITE)])
def test_a_proxy_that_dies_is_refused(lab, monkeypatch, ident):
    real = works.Sample

    def deadly(subjects, company):
        sample = real(subjects, company)
        os.kill(subjects[0], signal.SIGSTOP)  # a master that sees its workers die ends by itself
        for pid in reversed(subjects):
            with contextlib.suppress(ProcessLookupError):  # Ringbolt's workers go with their master
                os.kill(pid, signal.SIGKILL)
        return sample

    monkeypatch.setattr(works, "Sample", deadly)
    found = run(lab, WORKS["request-64"], ident, 2, seconds=3)  # it dies early in them, on a busy machine too
    assert "ended by signal 9" in found["refused"] and found["metrics"] == {}


def test_a_saturated_client_limits_what_is_its_own(lab, monkeypatch):
    real = works.observe

    def saturated(*arguments):
        usage, found = real(*arguments)
        found["client"]["bottleneck"] = True
        return usage, found

    monkeypatch.setattr(works, "observe", saturated)
    found = run(lab, WORKS["request-64"])
    assert found["refused"] is None and found["metrics"]["cpu"]["median"] > 0
    assert found["limits"].keys() == {"throughput", "p50", "p99"}
    assert "client was saturated in 1 of 1" in found["limits"]["p99"]


@pytest.mark.parametrize("is_known", [False, True])
def test_a_stranger_is_seen(is_known):
    cpus = sorted(os.sched_getaffinity(0))[:1]
    with subprocess.Popen([sys.executable, "-c", f"import os; os.sched_setaffinity(0, {cpus}); print('go', flush=True)\nwhile True: pass"],
                          stdout=subprocess.PIPE) as spinner:
        try:
            spinner.stdout.readline()
            company = [os.getpid()] + [spinner.pid] * is_known
            before = meter.Sample([], company)
            until = meter.clock_ns(spinner.pid) + meter.NS // 5
            ringbolt.wait_until(lambda: meter.clock_ns(spinner.pid) > until, "it has run for a while")
            after = meter.Sample([], company)
        finally:
            spinner.kill()
    assert (spinner.pid in after.others) != is_known
    seconds, count = meter.Usage(before, after, [], cpus).disturbances["of the CPUs of client and backend went to others"]
    assert count == 1 and (is_known or seconds >= 0.15)


class Scripted(works.Work):
    """Measures what it is told to."""

    def __init__(self, *figures):
        super().__init__("scripted", "", "", "cpu", [works.metric("cpu", "", "s")], "")
        self.figures = list(figures)

    def start(self, lab, proxy):
        return types.SimpleNamespace(stop=lambda: None)

    def verify(self, lab, running):
        return 0

    def measure(self, lab, running, plan):
        return self.figures.pop(0)


def scripted(budget, *figures):
    schedule = rounds.Schedule(None, plan(), [PROXIES["ringbolt"]], 3, budget, io.StringIO())
    return schedule.run([Scripted(*figures)])["scripted"]["ringbolt"], schedule.disturbances


def good(value):
    return works.Figures({"cpu": value})


def bad(value):
    return works.Figures({"cpu": value}, disturbed="9 % steal")


def test_what_was_disturbed_is_made_again():
    found, disturbances = scripted(float("inf"), good(1), bad(9), bad(9), good(3), bad(9), bad(9), bad(9))
    assert found["metrics"]["cpu"] == {"median": 2, "min": 1, "max": 3, "rounds": [1, 3, None]} and found["refused"] is None
    assert [(one["round"], one["repeated"]) for one in disturbances] == [(2, True), (2, True), (3, True), (3, True), (3, False)]


def test_without_time_it_is_not_made_again():
    found, disturbances = scripted(0, bad(9), good(2), bad(9))
    assert found["metrics"]["cpu"]["rounds"] == [None, 2, None] and found["refused"] == "disturbed in 2 of 3 rounds"
    assert not any(one["repeated"] for one in disturbances)


def result_of(value, limits=None, refused=None):
    return {"metrics": {"p99": {"median": value}}, "limits": limits or {}, "refused": refused}


@pytest.mark.parametrize("ours,peer,met", [
    (result_of(1), result_of(2), True), (result_of(3), result_of(2), False),
    (result_of(1, {"p99": "saturated"}), result_of(2), True),    # at least so good, and that is enough
    (result_of(3, {"p99": "saturated"}), result_of(2), None),    # might be better than it looks
    (result_of(1), result_of(2, {"p99": "saturated"}), None),    # so might the peer
    (result_of(3), result_of(2, {"p99": "saturated"}), False),
    (result_of(1, {"p99": report.WORSE}), result_of(2), None),   # not sent, so worse than it looks
    (result_of(3, {"p99": report.WORSE}), result_of(2), False),
    (result_of(1), result_of(2, {"p99": "9 unsent: " + report.WORSE + " in 1 of 1 rounds"}), True),
    (result_of(3), result_of(2, {"p99": report.WORSE}), None),
])
def test_a_bound_decides_only_what_it_can(ours, peer, met):
    both = [PROXIES["ringbolt"], PROXIES["nginx"]]
    found = report.target({"ringbolt": ours, "nginx": peer}, both, "request-64", "p99", 1.0, "")
    assert found["met"] is met and bool(found["note"]) == (met is None)


def test_refused_figures_have_no_target():
    both = [PROXIES["ringbolt"], PROXIES["nginx"]]
    assert report.target({"ringbolt": result_of(1), "nginx": result_of(2, refused="3 errors")}, both, "request-64", "p99", 1.0, "") is None


def test_rounds_differ_in_order():
    orders = [tuple(rounds.order(list("abcde"), number)) for number in range(4)]
    assert len(set(orders)) == 4 and all(sorted(one) == list("abcde") for one in orders)


# ---- who isn't there, and the end

def test_a_missing_peer_is_said(monkeypatch):
    monkeypatch.setattr(machine, "find", lambda *names: None)
    for ident in ("haproxy", "nginx", "hitch", "stunnel"):
        assert "scripts/install-deps bench" in PROXIES[ident].missing(None, CIPHERSUITE)
    assert "kernel TLS" in PROXIES["ringbolt-kernel"].missing({"ktls": {"available": False, "error": "no"}}, CIPHERSUITE)
    with pytest.raises(Trouble, match="scripts/install-deps bench"):
        Lab(ringbolt.BINARY, load.find(), 1, 600)


@pytest.mark.parametrize("arguments,says", [(["--ringbolt", "/nonexistent/ringbolt"], "there is no program /nonexistent/ringbolt"),
                                            (["--bench", "/nonexistent/bench"], "there is no ringbolt-bench at /nonexistent/bench"),
                                            (["--json", "/nonexistent/x.json"], "/nonexistent/x.json can't be written")])
def test_a_wrong_path_is_said(tmp_path, arguments, says):
    done = subprocess.run(command(*arguments), stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=tmp_path, timeout=60,
                          check=False)
    assert done.returncode == 1 and done.stderr.startswith(f"bench/compare: {says}") and done.stderr.count("\n") == 1
    assert os.listdir(tmp_path) == []


def processes_with(text):
    """Processes whose command line or folder has that in it."""
    found = []
    for path in glob.glob("/proc/[0-9]*"):
        with contextlib.suppress(OSError):
            with open(f"{path}/cmdline", "rb") as f:
                if text.encode() in f.read() or text in os.readlink(f"{path}/cwd"):
                    found.append(path)
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_nothing(tmp_path, number):
    folder = tmp_path / "temporary"
    folder.mkdir()
    folder.chmod(0o755)
    process = subprocess.Popen(command("--works", "request-64", "--rounds", "1000", *ANY_LOAD), stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path, env={**os.environ, "TMPDIR": str(folder)})
    try:
        ringbolt.wait_until(lambda: glob.glob(f"{folder}/*/client-*.json") and len(processes_with(str(folder))) > 3, "a proxy is measured")
        process.send_signal(number)
        printed, complaints = process.communicate(timeout=ringbolt.WAIT)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    assert (process.returncode, printed, complaints) == (128 + number, b"", b"")
    assert os.listdir(folder) == [] and os.listdir(tmp_path) == ["temporary"]
    ringbolt.wait_until(lambda: processes_with(str(folder)) == [], "those that were told to end have ended")


def test_it_is_a_program_with_help():
    done = subprocess.run([PROGRAM, "--help"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 and all(f"--{name}" in done.stdout for name in ("quick", "works", "proxies", "install", "tolerate"))
    assert importlib.machinery.SourceFileLoader("compare", PROGRAM).get_code("compare")
