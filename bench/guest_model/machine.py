#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""tests/guest/run with the emulated machine of the model: one CPU that counts; with --split in front, one whose kernel tells user and system apart.

With `nohz_full` a CPU's kernel notes the time at each way into it and out (CONFIG_VIRT_CPU_ACCOUNTING_GEN) in place of asking at 250 ticks a
second where it is. There must be another CPU, for the clock; it sleeps. The notes cost about 370 instructions for each system call, so the
sums come from the machine without them. What a process can be asked for lacks up to one tick of each kind, 4 million instructions: this boot does more
of each work.
"""
import importlib.machinery
import importlib.util
import os
import sys

SPLIT_CPU = 1
GUEST = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tests", "guest")


def load_run():
    sys.path.insert(0, GUEST)  # `run` imports its neighbour
    loader = importlib.machinery.SourceFileLoader("guest_run", os.path.join(GUEST, "run"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("guest_run", loader))
    loader.exec_module(module)
    return module


def split_machine(qemu_class):
    class Split(qemu_class):
        def arguments(self):
            arguments = super().arguments()

            def change(option, function):
                at = arguments.index(option) + 1
                arguments[at] = function(arguments[at])

            change("-smp", lambda _: "2")
            # In QEMU a CPU of several that waits by MWAIT goes on running, and is counted.
            change("-cpu", lambda cpu: cpu + ",-monitor")
            change("-append", lambda append: f"{append} nohz_full={SPLIT_CPU}")
            return arguments

    return Split


def main():
    module = load_run()
    if sys.argv[1:2] == ["--split"]:
        del sys.argv[1]
        module.Qemu = split_machine(module.Qemu)
    sys.argv[1:1] = ["--kernel", "qemu", "--count-instructions"]
    sys.exit(module.main())


if __name__ == "__main__":
    main()
