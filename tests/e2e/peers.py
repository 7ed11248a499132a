# SPDX-License-Identifier: Apache-2.0
"""Real proxies in front of Ringbolt or behind it, on sockets that they inherit: nobody guesses a port, nobody waits."""
import os
import shutil
import socket
import subprocess

import pytest

STREAM_MODULE = "/usr/lib/nginx/modules/ngx_stream_module.so"


class Peer:
    """A program with one listening socket for each name: peer["front"] is its address."""

    def __init__(self, names, folder):
        self.folder = folder
        self.sockets = {}
        for name in names:
            sock = socket.socket()
            sock.bind(("127.0.0.1", 0))
            sock.listen(128)
            self.sockets[name] = sock
        self.addresses = {name: sock.getsockname() for name, sock in self.sockets.items()}
        self.process = None

    def __getitem__(self, name):
        return self.addresses[name]

    def text(self, name):
        return "%s:%d" % self.addresses[name]

    def run(self, command, environment=None):
        with open(os.path.join(self.folder, f"{os.path.basename(command[0])}.log"), "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            pass_fds=[sock.fileno() for sock in self.sockets.values()],
                                            env={**os.environ, **(environment or {})})
        for sock in self.sockets.values():
            sock.close()

    def close(self):
        if self.process:
            self.process.terminate()
            self.process.wait(30)


def needs(program):
    if not shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin:/usr/local/sbin"):
        pytest.skip(f"{program} is not installed: scripts/install-deps test")


def haproxy(folder, sections, names):
    """sections(peer) gives the configuration; `bind fd@{…}` stands for a name: {front}."""
    needs("haproxy")
    peer = Peer(names, folder)
    path = os.path.join(folder, "haproxy.cfg")
    fds = {name: f"fd@{sock.fileno()}" for name, sock in peer.sockets.items()}
    with open(path, "w", encoding="utf-8") as f:
        f.write("global\n    maxconn 100\n    log stderr format raw daemon\n    ssl-server-verify none\n"
                "defaults\n    timeout connect 10s\n    timeout client 60s\n    timeout server 60s\n" + sections.format(**fds))
    peer.run([shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin"), "-db", "-f", path])
    return peer


def nginx(folder, sections, names, stream=False):
    """sections: what stands below events{}; {front} stands for the address of a name."""
    needs("nginx")
    if stream and not os.path.exists(STREAM_MODULE):
        pytest.skip("nginx's stream module is not installed: scripts/install-deps test")
    peer = Peer(names, folder)
    path = os.path.join(folder, "nginx.conf")
    for sock in peer.sockets.values():
        os.set_inheritable(sock.fileno(), True)
    with open(path, "w", encoding="utf-8") as f:
        f.write((f"load_module {STREAM_MODULE};\n" if stream else "") +
                f"daemon off;\nworker_processes 1;\npid {folder}/pid;\nerror_log {folder}/error.log info;\n"
                "events {}\n" + sections % {"folder": folder, **{name: peer.text(name) for name in names}})
    peer.run([shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin"), "-p", folder, "-e", f"{folder}/error.log", "-c", path],
             {"NGINX": "".join(f"{sock.fileno()};" for sock in peer.sockets.values())})
    return peer
