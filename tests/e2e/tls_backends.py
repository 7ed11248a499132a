# SPDX-License-Identifier: Apache-2.0
"""Servers that speak TLS, behind the proxy."""
import contextlib
import os
import socket
import ssl
import subprocess
import threading

import backends


def context(pair, folder, name, ca=None, version=None, ciphers=None, alpn=()):
    """Of Python's ssl, with the certificate of a pki.Pair; ca: clients must show a certificate of that authority."""
    entry = pair.write(str(folder), name)
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(entry["chain"], entry["key"])
    if version:
        made.minimum_version = made.maximum_version = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[version]
    if ciphers:
        made.set_ciphers(ciphers)
    if ca:
        made.verify_mode = ssl.CERT_REQUIRED
        made.load_verify_locations(cadata=ca.leaf_pem().decode())
    if alpn:
        made.set_alpn_protocols(list(alpn))
    return made


class Served:
    """How one connection went, as the server saw it."""

    def __init__(self):
        self.sni = self.alpn = self.peer = self.version = self.error = self.resumed = None
        self.received = b""


class PythonServer:
    """Python's ssl on one address. serve(sock, served): what to do with a connection once it has shaken hands; by default all that comes is
    read to the end and sent back. `before`: what to do with the plain socket first. served: the connections, in order of
    their end."""

    def __init__(self, made, serve=None, before=None, host="127.0.0.1"):
        self.context, self.serve, self.before = made, serve or self.echo, before
        self.listener = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.port = self.listener.getsockname()[1]
        self.address = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"
        self.served, self.changed = [], threading.Condition()
        self.acceptor = threading.Thread(target=self._accept, daemon=True)
        self.acceptor.start()

    def close(self):
        backends.stop_accepting(self.listener, self.acceptor)

    @staticmethod
    def echo(sock, served):
        while data := sock.recv(65536):
            served.received += data
            sock.sendall(data)
            if data.endswith(b"\n"):
                break
        with contextlib.suppress(OSError):
            sock.unwrap()

    def last(self, count=1, timeout=60):
        """The connection that ended last, once there are so many."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.served) >= count, timeout), "no such connection reached the server"
            return self.served[count - 1]

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(sock,), daemon=True).start()

    def _one(self, sock):
        served = Served()
        try:
            with sock:
                if self.before:
                    self.before(sock, served)
                made = self.context
                made.sni_callback = lambda _sock, name, _context: setattr(served, "sni", name)
                with made.wrap_socket(sock, server_side=True) as wrapped:
                    served.alpn, served.version = wrapped.selected_alpn_protocol(), wrapped.version()
                    served.peer, served.resumed = wrapped.getpeercert(), wrapped.session_reused
                    self.serve(wrapped, served)
        except (OSError, ssl.SSLError) as error:
            served.error = str(error)
        with self.changed:
            self.served.append(served)
            self.changed.notify_all()


class SServer:
    """`openssl s_server` on a port of its own choosing; what is written to it goes to the client, and its letters at the beginning of
    a line are commands (K: KeyUpdate that asks for one back, k: one that doesn't)."""

    def __init__(self, pair, folder, *options):
        entry = pair.write(str(folder), f"s-server-{id(self):x}")
        self.process = subprocess.Popen(["openssl", "s_server", "-accept", "127.0.0.1:0", "-cert", entry["chain"], "-cert_chain", entry["chain"], "-key", entry["key"], *options],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, "LC_ALL": "C"})
        self.output = b""
        line = b""
        while not line.startswith(b"ACCEPT"):
            line = self.process.stdout.readline()
            assert line, self.output
            self.output += line
        self.address = line.split()[1].decode()

    def say(self, text):
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def read_until(self, text):
        while text.encode() not in self.output:
            data = os.read(self.process.stdout.fileno(), 65536)
            assert data, self.output
            self.output += data
        return self.output

    def close(self):
        self.process.kill()
        self.process.communicate()


class Nginx:
    """Debian's nginx with TLS on sockets that it inherits, one a version: addresses["1.2"], addresses["1.3"]. Serves `directory`, takes
    bodies of any size at /take, and says at /resumed whether its session was."""

    def __init__(self, pair, folder, directory):
        entry = pair.write(str(folder), "nginx")
        sockets = {version: socket.create_server(("127.0.0.1", 0), backlog=1024) for version in ("1.2", "1.3")}
        self.addresses = {version: f"127.0.0.1:{sock.getsockname()[1]}" for version, sock in sockets.items()}
        for sock in sockets.values():
            os.set_inheritable(sock.fileno(), True)
        work = os.path.join(str(folder), "nginx-tls")
        os.mkdir(work)
        hosts = "".join(f"""
    server {{
        listen {address} ssl;
        ssl_protocols TLSv{version};
        ssl_certificate {entry["chain"]};
        ssl_certificate_key {entry["key"]};
        root "{directory}";
        location = /resumed {{ return 200 "$ssl_session_reused\\n"; }}
        location = /take {{ return 200 "taken\\n"; }}
    }}""" for version, address in self.addresses.items())
        temporary = "".join(f"    {kind}_temp_path {work}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        with open(os.path.join(work, "nginx.conf"), "w", encoding="utf-8") as file:
            file.write(f"""
daemon off;
worker_processes 1;
pid {work}/pid;
error_log {work}/error.log warn;
events {{ }}
http {{
    access_log off;
    client_max_body_size 0;
    keepalive_timeout 60;
{temporary}{hosts}
}}
""")
        self.process = subprocess.Popen(["/usr/sbin/nginx", "-p", work, "-e", f"{work}/error.log", "-c", f"{work}/nginx.conf"],
                                        env={**os.environ, "NGINX": "".join(f"{sock.fileno()};" for sock in sockets.values())},
                                        stdin=subprocess.DEVNULL, pass_fds=[sock.fileno() for sock in sockets.values()])
        for sock in sockets.values():
            sock.close()

    def close(self):
        self.process.terminate()
        self.process.wait(30)
