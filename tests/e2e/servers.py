# SPDX-License-Identifier: Apache-2.0
"""Servers of the kind that people put behind Ringbolt, each started as its project ships it, without TLS."""
import contextlib
import glob
import os
import pwd
import select
import shutil
import socket
import ssl
import subprocess
import threading

import ringbolt


class Missing(Exception):
    """A program that is not installed."""


def program(name, *elsewhere):
    found = shutil.which(name) or next((path for pattern in elsewhere for path in sorted(glob.glob(pattern), reverse=True)), None)
    if not found:
        raise Missing(f"{name} is not installed: scripts/install-deps test")
    return found


class Server:
    """A process that ends with the test."""

    def __init__(self, arguments, is_ready, **options):
        self.process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)
        try:
            ringbolt.wait_until(lambda: self._is_ready(is_ready), f"{os.path.basename(arguments[0])} answers")
        except BaseException:
            self.close()
            raise

    def _is_ready(self, is_ready):
        assert self.process.poll() is None, f"{self.process.args[0]} ended with status {self.process.returncode}"
        return is_ready()

    def close(self):
        self.process.terminate()
        try:
            self.process.wait(ringbolt.WAIT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def answers(path):
    with socket.socket(socket.AF_UNIX) as sock:
        return sock.connect_ex(path) == 0


class Redis(Server):
    def __init__(self, work):
        self.folder = os.path.join(work, "redis")
        os.mkdir(self.folder)
        os.chmod(self.folder, 0o755)
        path = os.path.join(self.folder, "redis.sock")
        self.address = f"unix:{path}"
        super().__init__([program("redis-server"), "--port", "0", "--unixsocket", path, "--unixsocketperm", "777", "--save", "",
                          "--dir", self.folder], lambda: answers(path))


class Postgres(Server):
    """As whoever runs the tests; root, whom it refuses, as nobody."""

    def __init__(self, work):
        self.folder = os.path.join(work, "postgres")
        os.mkdir(self.folder)
        os.chmod(self.folder, 0o755)
        options = {}
        self.user = pwd.getpwuid(os.geteuid()).pw_name
        if os.geteuid() == 0:
            self.user = "nobody"
            entry = pwd.getpwnam(self.user)
            os.chown(self.folder, entry.pw_uid, entry.pw_gid)
            options = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
        binaries = "/usr/lib/postgresql/*/bin/"
        data = os.path.join(self.folder, "data")
        subprocess.run([program("initdb", binaries + "initdb"), "-D", data, "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync",
                        "-U", self.user], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd=self.folder, **options)
        self.address = f"unix:{self.folder}/.s.PGSQL.5432"
        super().__init__([program("postgres", binaries + "postgres"), "-D", data, "-k", self.folder, "-c", "listen_addresses=",
                          "-c", "fsync=off"], lambda: subprocess.run([program("pg_isready"), "-q", "-h", self.folder], check=False).returncode == 0,
                         cwd=self.folder, **options)


class TlsBridge:
    """For clients that can't begin with TLS: what comes to its unix socket goes to the listener over TLS, and back."""

    def __init__(self, path, listener, ca, alpn):
        self.path, self.target = path, listener.address
        self.context = ssl.create_default_context(cafile=ca)
        self.context.set_alpn_protocols([alpn])
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(16)
        self.opened = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        try:
            while True:
                plain, _ = self.listener.accept()
                tls = self.context.wrap_socket(socket.create_connection(self.target), server_hostname="localhost")
                self.opened += [plain, tls]
                threading.Thread(target=self._carry, args=(plain, tls), daemon=True).start()
        except OSError:
            pass  # closed

    @staticmethod
    def _carry(plain, tls):
        """Both ways in one thread: Python lets two at once into one TLS session, which OpenSSL does not survive in good order."""
        try:
            data = b""
            while data is not None:
                ready = [tls] if tls.pending() else select.select([plain, tls], [], [])[0]
                if plain in ready:
                    data = plain.recv(65536) or None
                    tls.settimeout(ringbolt.WAIT)
                    tls.sendall(data or b"")
                if tls in ready:
                    tls.settimeout(0)
                    try:
                        data = tls.recv(65536) or None
                        plain.sendall(data or b"")
                    except ssl.SSLWantReadError:  # part of a record, or a ticket
                        pass
        except (OSError, ValueError):
            pass
        finally:
            for sock in plain, tls:
                with contextlib.suppress(OSError, ValueError):
                    sock.shutdown(socket.SHUT_RDWR)

    def close(self):
        for sock in [self.listener, *self.opened]:
            sock.close()
