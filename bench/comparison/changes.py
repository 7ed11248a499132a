# SPDX-License-Identifier: Apache-2.0
"""How each proxy is told to work by a changed configuration, and to become another program, for bench/reload.

Each does it the way its manual says, while it serves. The program is a copy in the lab's folder, so that its path can be given another file.
"""
import os
import shutil
import signal
import time

from . import machine
from .processes import session_members, wait_until
from .proxies import OURS, PEER, Haproxy, Hitch, Nginx, Ringbolt

RELOAD, UPGRADE, RESTART = "reload", "upgrade", "restart"


class Refused(Exception):
    """The proxy did not make this change; the text says why."""


class Changing:
    """Mixed into a proxy. limit: the seconds that connections may go on with what went before, None: as long as they like."""

    limit = None
    turn = 0

    def program(self, lab):
        """The copy that is run."""
        path = lab.path(f"bin/{os.path.basename(self.original(lab))}")
        if not os.path.exists(path):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            shutil.copy2(self.original(lab), path)
        return path

    def original(self, lab):
        return machine.find(*self.programs)

    def program_replace(self, lab):
        shutil.copy2(self.original(lab), self.program(lab) + ".new")
        os.replace(self.program(lab) + ".new", self.program(lab))

    def command(self, lab, config):
        return [self.program(lab), *super().command(lab, config)[1:]]

    def config(self, lab, port, certificate, backend):
        return self.limited(super().config(lab, port, certificate, backend))

    def config_change(self, running):
        """The same file, with something else in it."""
        self.turn += 1
        path = running.lab.path(f"{self.id}.conf")
        with open(path, encoding="utf-8") as f:
            text = f.read()
        running.lab.write(f"{self.id}.conf", self.changed(text))

    def changed(self, text):
        return text.replace("1h", f"{60 + self.turn}m") if self.turn == 1 else text.replace(f"{59 + self.turn}m", f"{60 + self.turn}m")

    def change(self, running, kind):
        """Returns once it was told."""
        if kind == UPGRADE:
            self.program_replace(running.lab)
        else:
            self.config_change(running)
        self.tell(running, kind)

    def pids(self, running):
        """All its processes: each way of changing leaves some that are no longer below the first."""
        return session_members(running.process.pid)


class ChangingRingbolt(Changing, Ringbolt):
    changes = [(RELOAD, "a changed configuration, HUP"), (UPGRADE, "the program's file replaced, USR2")]

    def original(self, lab):
        return lab.ringbolt

    def limited(self, text):
        return text if self.limit is None else f"shutdown_timeout: {self.limit}s\n{text}"

    def tell(self, running, kind):
        running.process.popen.send_signal(signal.SIGUSR2 if kind == UPGRADE else signal.SIGHUP)


class ChangingHaproxy(Changing, Haproxy):
    changes = [(RELOAD, "a changed configuration, USR2 to the master"), (UPGRADE, "the program's file replaced, USR2 to the master")]

    def limited(self, text):
        return text if self.limit is None else text.replace("global\n", f"global\n  hard-stop-after {self.limit}s\n", 1)

    def tell(self, running, kind):
        running.process.popen.send_signal(signal.SIGUSR2)


class ChangingNginx(Changing, Nginx):
    changes = [(RELOAD, "a changed configuration, HUP"), (UPGRADE, "the program's file replaced, USR2, then WINCH and QUIT to the old one")]

    def limited(self, text):
        return text if self.limit is None else text.replace("daemon off;", f"daemon off; worker_shutdown_timeout {self.limit}s;", 1)

    def command(self, lab, config):
        """nginx takes no USR2 while its parent is who it was at its start: it has to be left behind, as a daemon is."""
        return ["/bin/sh", "-c", '( "$@" & sleep 0.3 ); exec sleep infinity', "nginx", *super().command(lab, config)]

    def pids(self, running):
        return super().pids(running) - {running.process.pid}

    def master(self, running):
        text = machine.file_text(running.lab.path(f"{self.id}.pid")).strip()
        return int(text) if text else running.process.pid

    def tell(self, running, kind):
        old = self.master(running)
        if kind == RELOAD:
            os.kill(old, signal.SIGHUP)
            return
        os.kill(old, signal.SIGUSR2)
        if not wait_until(lambda: self.master(running) != old and os.path.exists(f"/proc/{self.master(running)}"), 2):
            raise Refused("nginx takes no USR2 while the master before still has connections")
        time.sleep(0.5)  # its new workers accept; the manual has somebody look at them here
        os.kill(old, signal.SIGWINCH)
        os.kill(old, signal.SIGQUIT)


class ChangingHitch(Changing, Hitch):
    """Has no limit to set, and can't become another program while it serves: it is started again."""

    changes = [(RELOAD, "another certificate, HUP"), (RESTART, "there is no upgrade: TERM, and started again")]

    def limited(self, text):
        return text

    def config(self, lab, port, certificate, backend):
        shutil.copy2(certificate, lab.path("hitch.pem"))
        return super().config(lab, port, lab.path("hitch.pem"), backend)

    def config_change(self, running):
        self.turn += 1
        certificates = running.lab.certificates
        shutil.copyfile(certificates.rsa if self.turn % 2 else certificates.ecdsa, running.lab.path("hitch.pem"))

    def tell(self, running, kind):
        if kind == RELOAD:
            running.process.popen.send_signal(signal.SIGHUP)
            return
        lab = running.lab
        lab.stop(running.process, self.stop_signal)
        running.process = lab.start(self.id, self.command(lab, lab.path(f"{self.id}.conf")), lab.proxy_cpus)


def subjects(limit):
    """Everybody, with that limit where there is one to set."""
    made = [ChangingRingbolt(0, "ringbolt", "Ringbolt", OURS, "user", ""), ChangingHaproxy(1, "haproxy", "HAProxy", PEER, "", ""),
            ChangingNginx(2, "nginx", "nginx stream", PEER, "", ""), ChangingHitch(3, "hitch", "hitch", PEER, "", "")]
    for subject in made:
        subject.limit = limit
    return made


