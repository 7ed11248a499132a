# SPDX-License-Identifier: Apache-2.0
"""In the guest: every path through every work. Says each result as a line, and goes on when one is refused."""
import json
import os

from .count import Refused
from .machine import SPLIT_CPU
from .paths import PATHS, ports_make
from .stage import Stage
from .works import WORKS, bench_beside, files, measure, warm_up

MARK = "bench/guest result: "


def say(**result):
    print(MARK + json.dumps(result), flush=True)


def cipher_driver():
    """What the kernel encrypts with: the driver of gcm(aes) that it likes best."""
    best = (-1, None)
    with open("/proc/crypto", encoding="ascii") as f:
        for stanza in f.read().split("\n\n"):
            fields = dict(map(str.strip, line.split(":", 1)) for line in stanza.splitlines() if ":" in line)
            if fields.get("name") == "gcm(aes)" and int(fields["priority"]) > best[0]:
                best = (int(fields["priority"]), fields["driver"])
    return best[1]


def run_path(stage, args, path, version, works):
    ports = ports_make()
    try:
        process = path.make(stage, ports)
    except Refused as refusal:
        for name in works:
            say(tls=version, path=path.name, work=name, refused=str(refusal))
        return
    for name in works:
        work = WORKS[name]
        try:
            warm_up(stage, work, version, ports[work.port])
            rounds = [measure(stage, path, work, version, process.pid, ports[work.port], work.long(args)) for _ in range(args.rounds)]
            say(tls=version, path=path.name, work=name, rounds=rounds)
        except Refused as refusal:
            say(tls=version, path=path.name, work=name, refused=str(refusal))
    stage.stop(process)


def main(args):
    if args.split:
        os.sched_setaffinity(0, {SPLIT_CPU})  # everything runs there; the other CPU keeps the clock
    stage = Stage((args.ringbolt, bench_beside(args.ringbolt)), files(args))
    try:
        for version in args.tls:
            for name in args.paths:
                works = [work for work in args.works if work in PATHS[name].works and version in WORKS[work].versions]
                if works:
                    run_path(stage, args, PATHS[name], version, works)
        say(kernel=os.uname().release, gcm=cipher_driver(), done=True)
    finally:
        stage.close()
