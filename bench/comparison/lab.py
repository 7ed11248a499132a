# SPDX-License-Identifier: Apache-2.0
"""A temporary folder with certificates, and the plaintext servers that all proxies stand in front of."""
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile

from . import machine
from .processes import Process, family, wait_until

HERE = os.path.dirname(os.path.abspath(__file__))
CIPHERSUITE = "TLS_AES_128_GCM_SHA256"  # of TLS 1.3
SMALL_SIZE = 100
BIG_SIZE = 64 << 20
CHECK_SIZE = 8 << 20  # of an upload that is compared byte by byte
START_SECONDS = 20


class Trouble(Exception):
    """The comparison can't be made; the text says why, for whoever started it."""


def listening(addresses):
    """Sockets on one port of the kernel's choosing, the same at each address."""
    for _ in range(20):
        sockets = []
        try:
            for address in addresses:
                sock = socket.socket()
                sockets.append(sock)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind((address, sockets[0].getsockname()[1] if len(sockets) > 1 else 0))
                sock.listen(4096)
            return sockets
        except OSError:
            for sock in sockets:
                sock.close()
    raise Trouble(f"no port is free at all of {', '.join(addresses)}")


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def accepts(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False


class Certificates:
    """An authority, and certificates for localhost, each with its key in one PEM file: every proxy can read that."""

    def __init__(self, folder):
        self.folder = folder
        self.ca = self.path("ca.pem")
        self.openssl("req", "-x509", *self.new_key("ecdsa", "ca.key"), "-out", self.ca, "-days", "2", "-subj", "/CN=bench-compare CA",
                     "-addext", "keyUsage=critical,keyCertSign,cRLSign")
        self.ecdsa, self.rsa = self.make("ecdsa", "ecdsa"), self.make("rsa", "rsa")

    def path(self, name):
        return os.path.join(self.folder, name)

    @staticmethod
    def openssl(*arguments):
        program = machine.find("openssl")
        if not program:
            raise Trouble("there is no openssl to make certificates with: scripts/install-deps bench installs it")
        done = subprocess.run([program, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              check=False, encoding="utf-8", errors="replace")
        if done.returncode:
            raise Trouble(f"openssl {arguments[0]} failed: {done.stdout.strip()[-500:]}")

    def new_key(self, kind, name):
        algorithm = ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"] if kind == "ecdsa" else ["rsa:2048"]
        return ["-newkey", *algorithm, "-nodes", "-keyout", self.path(name)]

    def make(self, kind, name):
        """The path of a certificate with its key."""
        whole, certificate, key = self.path(f"{name}.pem"), self.path(f"{name}.crt"), self.path(f"{name}.key")
        self.openssl("req", "-x509", "-CA", self.ca, "-CAkey", self.path("ca.key"), *self.new_key(kind, f"{name}.key"),
                     "-out", certificate, "-days", "2", "-subj", "/CN=localhost",
                     "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE")
        with open(whole, "w", encoding="ascii") as to:
            for part in (certificate, key):
                with open(part, encoding="ascii") as f:
                    to.write(f.read())
        return whole


class Lab:
    """The folder, the servers, and everything that was started in it. close() ends and removes it all."""

    def __init__(self, ringbolt, bench, backends, connections, ciphersuite=CIPHERSUITE):
        self.ringbolt, self.bench, self.connections, self.ciphersuite = ringbolt, bench, connections, ciphersuite
        self.proxy_cpus, self.other_cpus = machine.cpus_split()
        self.processes = []
        self.folder = tempfile.mkdtemp(prefix="ringbolt-compare-")
        try:
            os.chmod(self.folder, 0o755)  # servers may work as somebody else
            self.certificates = Certificates(self.folder)
            self.make_files()
            self.start_nginx(backends)
            self.start_sink()
            self.end_ports = None
        except BaseException:
            self.close()
            raise

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, text):
        with open(self.path(name), "w", encoding="utf-8") as f:
            f.write(text)
        return self.path(name)

    # ---- processes

    def start(self, name, command, cpus, **options):
        process = Process(name, command, cpus, self.path(f"{name}.log"), self.folder, **options)
        self.processes.append(process)
        return process

    def stop(self, process, number=signal.SIGTERM):
        process.stop(number)
        if process in self.processes:
            self.processes.remove(process)

    def company(self):
        """The processes that are meant to run on the CPUs of client and backend."""
        found = [os.getpid()]
        for process in self.processes:
            if process.is_company and process.is_running():
                found += family(process.pid)
        return found

    def close(self):
        try:
            for process in reversed(list(self.processes)):
                self.stop(process)
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    # ---- the servers

    def pattern(self, size, to):
        done = subprocess.run([self.bench, "pattern", "--size", str(size)], stdin=subprocess.DEVNULL, stdout=to,
                              stderr=subprocess.PIPE, check=False)
        if done.returncode:
            raise Trouble(f"{self.bench} pattern failed: {done.stderr.decode(errors='replace').strip()[-500:]}")
        return done.stdout

    def make_files(self):
        os.mkdir(self.path("www"))
        for name, size in (("small", SMALL_SIZE), ("big", BIG_SIZE)):
            with open(self.path(f"www/{name}"), "wb") as f:
                self.pattern(size, f)
        self.check_digest = hashlib.sha256(self.pattern(CHECK_SIZE, subprocess.PIPE)).hexdigest()

    def start_nginx(self, count):
        """A web server with an address for each proxy: so none of them meets ports that another one has just used up. With less
        than a sixteenth of its connections free nginx closes idle ones."""
        program = machine.find("nginx")
        if not program:
            raise Trouble("there is no nginx, the server behind the proxies: scripts/install-deps bench installs it")
        addresses = [f"127.0.1.{number}" for number in range(1, count + 1)]
        sockets = listening(addresses)
        self.http_port = sockets[0].getsockname()[1]
        temporary = "".join(f"  {kind}_temp_path {self.folder};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        listen = " ".join(f"listen {address}:{self.http_port};" for address in addresses)
        config = self.write("backend.conf", f"""daemon off; worker_processes {len(self.other_cpus)};
pid {self.path('backend.pid')}; error_log {self.path('backend-nginx.log')};
{'user root;' if os.geteuid() == 0 else ''}
events {{ worker_connections {self.connections * 5 // 4 + 100}; }}
http {{
  access_log off; sendfile on; keepalive_requests 100000000; keepalive_timeout 3600s; client_header_timeout 3600s;
{temporary}  server {{ {listen} root {self.path('www')}; }}
}}
""")
        process = self.start("backend-nginx", [program, "-p", self.folder, "-c", config], self.other_cpus,
                             pass_fds=[sock.fileno() for sock in sockets],
                             environment={"NGINX": "".join(f"{sock.fileno()};" for sock in sockets)})
        process.is_company = True
        for sock in sockets:
            sock.close()
        self.wait_for_http(process, addresses[0])

    def wait_for_http(self, process, address):
        """The socket listens already; nginx is there when it answers."""
        def answers():
            try:
                with socket.create_connection((address, self.http_port), timeout=1) as sock:
                    sock.sendall(b"GET /small HTTP/1.0\r\n\r\n")
                    return sock.recv(100).startswith(b"HTTP/1.1 200")
            except OSError:
                return False
        if not wait_until(lambda: not process.is_running() or answers(), START_SECONDS) or not process.is_running():
            raise Trouble(f"the server behind the proxies does not serve: {process.how_it_ended()}")

    def start_sink(self):
        sock, = listening(["127.0.0.1"])
        self.sink_port = sock.getsockname()[1]
        process = self.start("backend-sink", [sys.executable, "-B", os.path.join(HERE, "sink.py"), str(sock.fileno())],
                             self.other_cpus, pass_fds=[sock.fileno()])
        process.is_company = True
        sock.close()

    def backend(self, kind, number):
        """The address of "http" or "sink" for the proxy with that number."""
        return f"127.0.1.{number + 1}:{self.http_port}" if kind == "http" else f"127.0.0.1:{self.sink_port}"

    def tls_end(self, certificate, kind):
        """The port of a TLS server on the backend's CPUs, for relays that terminate nothing: a Ringbolt with records in user
        space in front of the same servers."""
        if self.end_ports is None:
            self.start_tls_end()
        return self.end_ports[certificate, kind]

    def start_tls_end(self):
        ports = {(certificate, kind): free_port() for certificate in (self.certificates.ecdsa, self.certificates.rsa)
                 for kind in ("http", "sink")}
        listeners = "".join(f'  - {{ address: "127.0.0.1:{port}", upstream: {kind}, '
                            f'tls: {{ certificates: [ {{ chain: "{certificate}" }} ] }} }}\n'
                            for (certificate, kind), port in ports.items())
        config = self.write("tls-end.yaml", f"""workers: {len(self.other_cpus)}
ktls: {{ transmit: off, receive: off }}
log: {{ access: false }}
limits: {{ connections: {self.connections} }}
timeouts: {{ idle: 1h }}
admin: {{ socket: off }}
listeners:
{listeners}upstreams:
  - {{ name: http, servers: [ {{ address: "{self.backend('http', 0)}" }} ] }}
  - {{ name: sink, servers: [ {{ address: "{self.backend('sink', 0)}" }} ] }}
""")
        process = self.start("tls-end", [self.ringbolt, "run", "-c", config], self.other_cpus)
        process.is_company = True
        ready = wait_until(lambda: not process.is_running() or all(accepts(port) for port in ports.values()), START_SECONDS)
        if not ready or not process.is_running():
            raise Trouble(f"the TLS server behind the plain relays does not serve: {process.how_it_ended()}")
        self.end_ports = ports
