#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Builds and runs every test, and closes with one line that counts them all. Called by scripts/test.

After the build and its unit tests, simulations and fuzz corpora, two steps at a time:
    end to end → with sanitizers: unit, simulation, fuzz corpora → end to end → the rest of the guests
    build with sanitizers → one guest after the other: kernel record layer, end to end over it, in pieces
Each step's output goes to a file; of a step that fails, what failed is shown, by the first lines of each failure, and then the end of the
output. Counts come from the runners' JUnit files, so that a step that died without one counts as a failure of its own.
"""
import argparse
import collections
import concurrent.futures
import glob
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree as tree

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
GUEST_PIECES = 8
# Tests wait most of their time: for events, timeouts, disks. In a guest, which computes slowly, they don't.
END_TO_END_WORKERS = 5
IS_CI = os.environ.get("CI", "") not in ("", "0", "false")
STEP_SECONDS_MAX = 20 * 60
INTERRUPTED_SECONDS = 20
# Of a step that fails. Who keeps only two thousand characters of what this program prints shall find in them what failed, and why.
FAILURES_LENGTH, FAILURE_LENGTH_MIN, FAILURE_LINES, LOG_LINES = 1600, 200, 15, 60
# A case of end to end is run once more, alone, when it fails: there the machine is a part of what is tested. Not when many fail, nor when the
# first time says that memory or an assertion was broken: that a second try doesn't undo. Whoever passed then is named in the end.
AGAIN_MAX = 3
NEVER_AGAIN = re.compile(r"Sanitizer|runtime error:|Assertion `|SIGSEGV|SIGABRT|SIGBUS|SIGILL|SIGSYS")
DOTS = re.compile(r"[.FEsxX]+(?: +\[ *\d+%\])?\n?")  # pytest's progress
TOOLS = ["agree", "bench", "bench_guest", "compare", "compare_page", "flood", "package", "page_browser", "reload_bench"]
SURROUNDINGS = ["container", "fleet", "ipvs", "systemd", "tracing"]


class Tally:
    """What all runners counted, and the skips with their reasons."""

    def __init__(self):
        self.lock = threading.Lock()
        self.passed, self.failed, self.skipped = 0, 0, 0
        self.failures, self.skips, self.unsteady = [], {}, []

    def add_file(self, step, path):
        """Counts a JUnit file: (whether it holds a test, [(name, what it says, its id) of each that failed]). Meson leaves the reason of a skip
        out of it: it is in the log beside it."""
        reasons = []
        if path.endswith(".junit.xml") and os.path.exists(path.replace(".junit.xml", ".txt")):
            with open(path.replace(".junit.xml", ".txt"), errors="replace") as log:
                reasons = re.findall(r"^(?:1\.\.0 # SKIP|# skipped \w+:) (.*)$", log.read(), re.MULTILINE)
        try:
            cases = [(case, suite) for suite in tree.parse(path).iter("testsuite") for case in suite.findall("testcase")]
        except (OSError, tree.ParseError):
            return False, []
        failed = []
        with self.lock:
            for case, suite in cases:
                name = f"{step}: {case.get('classname', '')} {case.get('name', '')}".replace("  ", " ")
                skipped = case.find("skipped")
                if case.find("failure") is not None or case.find("error") is not None:
                    failed.append((name, failure_said(case, suite), (case.get("classname", ""), case.get("name", ""))))
                    self.failures.append(name)
                elif skipped is not None:
                    self.skipped += 1
                    reason = skipped.get("message") or skipped.text or (reasons.pop(0) if reasons else "no reason given")
                    self.skips.setdefault(f"{step}: {reason}", []).append(name)
                else:
                    self.passed += 1
            self.failed += len(failed)
        return bool(cases), failed

    def forgive(self, name, why):
        """It failed, and passed when it was run once more."""
        with self.lock:
            self.failed -= self.failures.count(name)
            self.failures = [failure for failure in self.failures if failure != name]
            self.passed += 1
            self.unsteady.append(f"{name}: {why}")

    def fail(self, step, why):
        with self.lock:
            self.failed += 1
            self.failures.append(f"{step}: {why}")

    def skip(self, step, why):
        with self.lock:
            self.skipped += 1
            self.skips.setdefault(f"{step}: {why}", []).append(step)


def failure_said(case, suite):
    """What a failed case of a JUnit file says. Meson has no words for it but the program's."""
    texts = [failure.text or failure.get("message") or "" for failure in [*case.findall("failure"), *case.findall("error")]]
    if not any(texts):
        texts = [text for at in (case, suite) for name in ("system-out", "system-err") for text in [at.findtext(name)] if text]
        texts = [line for line in "\n".join(texts).splitlines() if not re.match(r"ok |\[ ", line)][-FAILURE_LINES:]
    return "\n".join(texts)


def failure_lines(text, length):
    """The first lines of what a failed case says: of pytest's those that say where, and what is wrong (E)."""
    said = [line[1:].strip() for line in text.splitlines() if re.match(r"E\s", line)]
    where = [line.strip() for line in text.splitlines() if re.match(r"\S+\.py:\d+: ", line)]
    lines = [" ".join(where), *said] if said else text.strip().splitlines()
    kept = []
    for line in lines[:FAILURE_LINES]:
        kept.append(line[:length])
        length -= len(kept[-1])
        if length <= 0:
            break
    return kept


def passed_in(path):
    """The ids of all that passed, in every part of theirs."""
    try:
        cases = list(tree.parse(path).iter("testcase"))
    except (OSError, tree.ParseError):
        return set()
    bad = {(case.get("classname"), case.get("name")) for case in cases
           if any(case.find(kind) is not None for kind in ("failure", "error", "skipped"))}
    return {(case.get("classname"), case.get("name")) for case in cases} - bad


class Runner:
    def __init__(self, tally, folder):
        self.tally, self.folder = tally, folder
        self.running = set()
        self.is_over = False  # nothing more is begun
        self.lock = threading.Lock()

    def path(self, name):
        return os.path.join(self.folder, name)

    def say(self, text):
        with self.lock:
            print(text, flush=True)

    def execute(self, name, command, environment):
        """Runs a command to its end, and ends what it may have left behind: (its status, whether it left something, its output's file)."""
        log = self.path(re.sub(r"\W+", "-", name) + ".log")
        with open(log, "w") as output:
            process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                                       env={**os.environ, **(environment or {})}, start_new_session=True)
            self.running.add(process)
            if self.is_over:  # in between
                self.interrupt(process)
            try:
                status = process.wait(timeout=STEP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                status = "not in time"
                self.end_group(process.pid)
                process.wait()
            except BaseException:  # a signal to this program alone
                self.interrupt(process)
                raise
        self.running.discard(process)
        return status, self.end_group(process.pid), log

    def step(self, name, command, junit=None, environment=None, again=None):
        """Runs one step. True when it succeeded. again(ids, junit): the command for some of its cases, which may be tried once more."""
        if self.is_over:
            return False
        started = time.monotonic()
        status, left, log = self.execute(name, command, environment)
        counted, failed = self.tally.add_file(name, junit) if junit else (True, [])
        if again and failed and not left and not self.is_over:
            failed = self.once_more(name, again, failed, environment)
            status = status if failed else 0
        good = status == 0 and not left
        self.say(f"{'ok  ' if good else 'FAIL'} {name} ({time.monotonic() - started:.0f} s)")
        if left:
            self.tally.fail(name, "left a process behind")
        # Also when what ended badly (a crash in the middle) left a file in which nothing failed.
        if not counted or (status != 0 and not failed):
            self.tally.fail(name, f"ended with status {status}" + (", no test was counted" if not counted else ""))
        if not good:
            self.show(log, failed)
        return good

    def once_more(self, name, again, failed, environment):
        """Those that still fail."""
        cases = {case: (full, text) for full, text, case in failed}
        if len(cases) > AGAIN_MAX or any(NEVER_AGAIN.search(text) for _, text, _ in failed):
            return failed
        junit = self.path(re.sub(r"\W+", "-", name) + "-again.xml")
        _, left, _ = self.execute(f"{name}, once more", again(list(cases), junit), environment)
        passed = set() if left else passed_in(junit)
        for case in cases.keys() & passed:
            full, text = cases[case]
            self.tally.forgive(full, " ".join(failure_lines(text, FAILURE_LENGTH_MIN)))
        return [(full, text, case) for full, text, case in failed if case not in passed]

    def show(self, log, failed):
        """What failed first, then how the output of the step ends."""
        lines = []
        for name, text, _ in failed:
            lines += [f"    {name}", *(f"        {line}" for line in failure_lines(text, max(FAILURE_LENGTH_MIN, FAILURES_LENGTH // len(failed))))]
        with open(log, errors="replace") as output:
            kept = [line.rstrip("\n") for line in output if not DOTS.fullmatch(line)]
        lines += ["    the end of its output:", *(f"        {line}" for line in kept[-LOG_LINES:])]
        self.say("\n".join(lines))

    def interrupt(self, process):
        """What a terminal's Ctrl-C does, and a moment to tidy up."""
        try:
            os.killpg(process.pid, signal.SIGINT)
            process.wait(timeout=INTERRUPTED_SECONDS)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            pass
        self.end_group(process.pid)
        process.wait()

    @staticmethod
    def end_group(group):
        """True when there was something to end."""
        try:
            os.killpg(group, signal.SIGKILL)
            return True
        except ProcessLookupError:
            return False


def build(run, name, *options, nice=0):
    # A folder of one's own for each configuration; a second run of this script waits for the first.
    folder = os.path.join(ROOT, name)
    action = ["--reconfigure"] if os.path.exists(os.path.join(folder, "build.ninja")) else []
    options = list(options) + (["-Dwerror=true"] if IS_CI else [])
    lock = os.path.join(ROOT, f".{name}.lock")
    return (run.step(f"{name}: configure", ["flock", lock, "meson", "setup", name, *action, *options]) and
            run.step(f"{name}: compile", ["flock", lock, "nice", "-n", str(nice), "ninja", "-C", name]))


def meson_tests(run, name):
    # Its log folder is the run's own, so that two runs don't write the same file.
    base = f"{os.getpid()}-{name}"
    junit = os.path.join(ROOT, name, "meson-logs", f"{base}.junit.xml")
    run.step(f"{name}: unit, simulation, fuzz corpora",
             ["meson", "test", "-C", name, "--no-rebuild", "--logbase", base, "--print-errorlogs", "--timeout-multiplier", "4"], junit)
    for end in (".txt", ".json", ".junit.xml"):
        try:
            os.unlink(os.path.join(ROOT, name, "meson-logs", base + end))
        except FileNotFoundError:
            pass


def pytest(junit, workers, files=("tests/e2e",)):
    return ["/usr/bin/python3", "-m", "pytest", *files, "-q", "-p", "no:cacheprovider", "--junitxml", junit,
            *(["-n", str(workers)] if workers else [])]


def these_cases(ids, junit):
    return pytest(junit, 0, [f"{file.replace('.', '/')}.py::{case}" for file, case in ids])


def end_to_end(run, name, *select, **environment):
    junit = run.path(f"{name}-e2e.xml")
    run.step(f"{name}: end to end", [*pytest(junit, END_TO_END_WORKERS), *select], junit,
             {"RINGBOLT": os.path.join(ROOT, name, "ringbolt"), **environment}, again=these_cases)


def guest(run, kernel):
    """What is to be done in it, piece by piece: each in a guest of its own."""
    step = f"guest ({kernel})"
    check = subprocess.run(["tests/guest/run", "--kernel", kernel, "--check"], cwd=ROOT, stdin=subprocess.DEVNULL,
                           capture_output=True, text=True)
    if check.returncode != 0:
        why = (check.stdout + check.stderr).strip() or "no reason given"
        if IS_CI:
            run.tally.fail(step, f"could not be started: {why}")
        else:
            run.tally.skip(step, f"could not be started, nothing ran over kernel TLS: {why}")
        return []
    start = ["tests/guest/run", "--kernel", kernel, "--share", run.folder, "--timeout", str(STEP_SECONDS_MAX - 60), "--"]

    def record_layer():
        # The test's own TAP is not JUnit: one step, one test.
        if run.step(f"{step}: kernel record layer", [*start, os.path.join("build", "tests", "unit", "test_record_kernel")]):
            with run.tally.lock:
                run.tally.passed += 1

    # All cases with kernel records both ways; those in which the layer makes the difference in its mixed forms. User records are
    # tested on this kernel.
    files = sorted(glob.glob(os.path.join("tests", "e2e", "test_*.py"), root_dir=ROOT))
    # In pieces, because no file takes as long as another.
    parts = {"tx late": ("tx late", files, ["-k", "(records or bulk or backends) and not (test_reencrypt and (AES-256-GCM or CHACHA20))"]),
             **{f"kernel ({piece + 1})": ("kernel", files[piece::GUEST_PIECES], []) for piece in range(GUEST_PIECES)}}
    if kernel == "qemu":  # slow: what only the newer kernel can do
        parts = {"kernel tx late": ("kernel tx late", files, ["-k", "key_update"])}

    def part(number, name):
        layers, chosen, select = parts[name]
        junit = run.path(f"guest-{kernel}-{number}.xml")
        environment = [f"RINGBOLT={os.path.join(ROOT, 'build', 'ringbolt')}", f"RINGBOLT_E2E_LAYERS={layers}"]
        run.step(f"{step}: end to end, {name}", [*start, "env", *environment, *pytest(junit, 0, chosen), *select], junit,
                 again=lambda ids, junit: [*start, "env", *environment, *these_cases(ids, junit)])

    return [record_layer, *(lambda number=number, name=name: part(number, name) for number, name in enumerate(parts))]


def sanitized_build(run):
    return build(run, "build-asan", "-Dtests=enabled", "-Dbuildtype=debugoptimized", "-Db_sanitize=address,undefined", "-Db_lundef=false", nice=10)


def sanitized(run):
    meson_tests(run, "build-asan")
    # Of tools in Python sanitizers see nothing, and of the surroundings no more than in the other tests.
    end_to_end(run, "build-asan", *(f"--ignore=tests/e2e/test_{tool}.py" for tool in TOOLS + SURROUNDINGS), RINGBOLT_SANITIZE="asan ubsan",
               UBSAN_OPTIONS="halt_on_error=1:print_stacktrace=1")


def attempt(run, job):
    """What the job returns; whatever goes wrong must show in the count."""
    try:
        return job()
    except Exception as error:
        run.tally.fail("the test runner", repr(error))
        return None


def together(run, *jobs):
    with concurrent.futures.ThreadPoolExecutor(len(jobs)) as pool:
        begun = [pool.submit(attempt, run, job) for job in jobs]
        try:
            for job in begun:
                job.result()
        except BaseException:  # a signal: the threads don't hear it
            run.is_over = True
            for process in list(run.running):
                run.interrupt(process)
            raise


def all_tests(run, kernels, is_quick):
    """Tests that wait, beside what computes: the compiler, and guests. What is left of those in the end has both CPUs."""
    attempt(run, lambda: meson_tests(run, "build"))
    pieces = collections.deque()
    is_built = concurrent.futures.Future()

    def guests():
        while pieces:
            try:
                piece = pieces.popleft()
            except IndexError:  # the other was faster
                return
            attempt(run, piece)

    def waits():
        attempt(run, lambda: end_to_end(run, "build"))
        if is_built.result():
            attempt(run, lambda: sanitized(run))
        guests()

    def computes():
        for kernel in kernels:
            pieces.extend(attempt(run, lambda kernel=kernel: guest(run, kernel)) or [])
        is_built.set_result(not is_quick and attempt(run, lambda: sanitized_build(run)))
        guests()

    together(run, waits, computes)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="without the sanitizer build")
    parser.add_argument("--full", action="store_true", help="with the newer guest kernel (fetches its Debian package)")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    signal.signal(signal.SIGHUP, lambda number, _: sys.exit(128 + number))
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="ringbolt-test-") as folder:
        run = Runner(tally, folder)
        if build(run, "build", "-Dtests=enabled", "-Dbuildtype=debugoptimized"):
            kernels = ["uml"] + (["qemu"] if args.full else [])
            all_tests(run, kernels, args.quick)
    for reason, names in sorted(tally.skips.items()):
        print(f"skipped {len(names)}: {reason}")
    for name in tally.unsteady:
        print(f"unsteady, it failed and passed when it was run once more: {name}")
    for name in tally.failures:
        print(f"failed: {name}")
    print(f"{tally.passed} passed, {tally.failed} failed, {tally.skipped} skipped", flush=True)
    return 1 if tally.failed or not tally.passed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
