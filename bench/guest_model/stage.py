# SPDX-License-Identifier: Apache-2.0
"""In the guest: a folder with a certificate, files, a web server and a sink for uploads; and one proxy after the other in front of them."""
import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from .count import Refused

BLOCK = 1 << 20
SINK_PATIENCE = 60  # seconds


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Stage:
    def __init__(self, binaries, files):
        """binaries: of Ringbolt and of ringbolt-bench. files: name to size in bytes."""
        self.ringbolt = binaries[0]
        self.folder = tempfile.mkdtemp(prefix="ringbolt-guest-")
        self.processes = []
        try:
            os.chmod(self.folder, 0o755)
            self.client = self._client(binaries[1])
            self._certificate()
            os.mkdir(self.path("www"))
            for name, size in files.items():
                with open(self.path(f"www/{name}"), "wb") as f:
                    while f.tell() < size:
                        f.write(bytes(min(BLOCK, size - f.tell())))
            self.http, self.sink = free_port(), free_port()
            self._sink()
            self.start(["nginx", "-p", self.folder, "-c", self.write("backend.conf", self._backend())], self.http)
        except BaseException:
            self.close()
            raise

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, text):
        with open(self.path(name), "w", encoding="utf-8") as f:
            f.write(text)
        return self.path(name)

    def _client(self, binary):
        """Copies the client and its libraries. Opening a file of the host again drops its pages in the guest, under the proxy's feet too;
        while those are fetched the guest is idle and its clock jumps."""
        folder = self.path("client")
        os.mkdir(folder)
        listed = subprocess.run(["ldd", binary], stdout=subprocess.PIPE, text=True, check=True).stdout
        libraries = [part for part in listed.split() if part.startswith("/")]
        for library in libraries:
            shutil.copy(library, folder)
        loader = next(os.path.basename(library) for library in libraries if os.path.basename(library).startswith("ld-"))
        shutil.copy(binary, folder)
        return [os.path.join(folder, loader), "--library-path", folder, os.path.join(folder, os.path.basename(binary))]

    def _certificate(self):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                        "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", self.path("key.pem"),
                        "-out", self.path("cert.pem")], check=True, stderr=subprocess.DEVNULL)
        both = ""
        for name in ("cert.pem", "key.pem"):
            with open(self.path(name), encoding="ascii") as f:
                both += f.read()
        self.write("both.pem", both)

    def _sink(self):
        """Reads streams to their end, and says how many bytes they had."""
        listener = socket.create_server(("127.0.0.1", self.sink))
        self.taken, says = os.pipe()
        pid = os.fork()
        if pid:
            listener.close()
            os.close(says)
            self.sink_pid = pid
            return
        buffer = bytearray(BLOCK)
        try:
            while True:
                with listener.accept()[0] as sock:
                    total = 0
                    while length := sock.recv_into(buffer):
                        total += length
                if total:
                    os.write(says, total.to_bytes(8, "big"))
        finally:
            os._exit(1)

    def wait_taken(self, size):
        """Until the sink has had a stream of so many bytes."""
        if not select.select([self.taken], [], [], SINK_PATIENCE)[0]:
            raise Refused("an upload did not arrive")
        got = int.from_bytes(os.read(self.taken, 8), "big")
        if got != size:
            raise Refused(f"of an upload of {size} bytes {got} arrived")

    def _backend(self):
        return f"""daemon off; worker_processes 1; pid {self.path('backend.pid')}; error_log {self.path('backend.err')};
{'user root;' if os.geteuid() == 0 else ''}
events {{ worker_connections 1000; }}
http {{ access_log off; sendfile on; keepalive_requests 1000000; keepalive_timeout 3600s;
  client_body_temp_path {self.folder}; proxy_temp_path {self.folder}; fastcgi_temp_path {self.folder};
  uwsgi_temp_path {self.folder}; scgi_temp_path {self.folder};
  server {{ listen 127.0.0.1:{self.http}; root {self.path('www')}; }} }}
"""

    def start(self, command, *ports, end_signal=signal.SIGTERM):
        """Starts a server and waits until it accepts."""
        log = self.path(f"log-{len(self.processes)}")
        with open(log, "wb") as f:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=f, stderr=f, cwd=self.folder)
        process.end_signal = end_signal
        self.processes.append(process)
        for port in ports:
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=5).close()
                    break
                except OSError:
                    if process.poll() is not None:
                        self.processes.remove(process)
                        with open(log, encoding="utf-8", errors="replace") as f:
                            raise Refused(f"{command[0]} ended at its start: {f.read().strip()}") from None
                    time.sleep(0.01)
        return process

    def stop(self, process):
        if process.poll() is None:
            process.send_signal(process.end_signal)
            process.wait()
        self.processes.remove(process)

    def close(self):
        for process in list(reversed(self.processes)):
            self.stop(process)
        if getattr(self, "sink_pid", None):
            os.kill(self.sink_pid, signal.SIGTERM)
            os.waitpid(self.sink_pid, 0)
        shutil.rmtree(self.folder)
