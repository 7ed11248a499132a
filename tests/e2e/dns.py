# SPDX-License-Identifier: Apache-2.0
"""A small DNS server that does as a test says, and a network of its own in which it is the one that names are looked up at."""
import os
import shutil
import socket
import struct
import subprocess
import threading

import backends
import netns

A, AAAA = 1, 28
SERVFAIL, NXDOMAIN = 2, 3
SILENT = "silent"


class Server:
    """records: by name a list of addresses, an error, or SILENT; who is not in it does not exist. fails: families (A, AAAA) whose
    questions are answered with SERVFAIL."""

    def __init__(self, sock):
        self.socket, self.records, self.fails = sock, {}, set()
        self.changed, self.asked = threading.Condition(), 0
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while True:
            question, peer = self.socket.recvfrom(4096)
            if not question:
                return
            answer = self._answer(question)
            if answer:
                self.socket.sendto(answer, peer)
            with self.changed:
                self.asked += 1
                self.changed.notify_all()

    def _answer(self, question):
        labels, at = [], 12
        while question[at]:
            labels.append(question[at + 1:at + 1 + question[at]].decode())
            at += 1 + question[at]
        kind, = struct.unpack_from("!H", question, at + 1)
        asked = question[12:at + 5]
        what = self.records.get(".".join(labels), NXDOMAIN)
        if what == SILENT:
            return None
        error, records = (what, []) if isinstance(what, int) else (0, what)
        if kind in self.fails:
            error, records = SERVFAIL, []
        found = [socket.inet_pton(socket.AF_INET6 if ":" in record else socket.AF_INET, record)
                 for record in records if (kind == AAAA) == (":" in record)]
        head = question[:2] + struct.pack("!HHHHH", 0x8180 | error, 1, len(found), 0, 0)
        return head + asked + b"".join(b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 0, len(data)) + data for data in found)

    def wait_for_questions(self, count, timeout):
        """So many more of them."""
        with self.changed:
            goal = self.asked + count
            assert self.changed.wait_for(lambda: self.asked >= goal, timeout), f"{self.asked} questions, not {goal}"

    def close(self):
        backends.stop_accepting(self.socket, self.thread)


MOUNT = 'for name in resolv.conf hosts nsswitch.conf; do mount --bind "$0/$name" "/etc/$name" || exit 9; done; exec "$@"'


class Network(netns.Namespace):
    """With the server on port 53, and files of its own that say so. OSError when this user may not make one."""

    def __init__(self, directory):
        super().__init__()
        self.directory = directory
        os.makedirs(directory, mode=0o755)
        for name, text in (("resolv.conf", "nameserver 127.0.0.1\noptions timeout:30 attempts:1\n"),
                           ("hosts", "127.0.0.1 localhost\n"), ("nsswitch.conf", "hosts: files dns\n")):
            with open(os.path.join(directory, name), "w", encoding="ascii") as f:
                f.write(text)
        done = subprocess.run([*self.prefix(), "true"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False, text=True)
        if done.returncode:
            self.close()
            raise OSError(f"no files can be mounted: {done.stderr.strip()}")
        self.dns = Server(self.call(self._bind))

    @staticmethod
    def _bind():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 53))
        return sock

    def prefix(self):
        return [*super().prefix(), "unshare", "--mount", "--propagation", "private", "sh", "-c", MOUNT, self.directory]

    def finish(self):
        self.dns.close()
        self.close()
        shutil.rmtree(self.directory, ignore_errors=True)
