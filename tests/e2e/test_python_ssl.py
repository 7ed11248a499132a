# SPDX-License-Identifier: Apache-2.0
"""Three programs as the documentation of Python's ssl module and asyncio writes them, through the proxy to plaintext programs. All
certificates come from `ringbolt pki`, with an intermediate in the chain and a server key whose passphrase comes from the environment."""
import os
import subprocess
import sys

import pytest

import ringbolt

pytestmark = pytest.mark.any_layer

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PASSPHRASES = {"SERVER_KEY_PASSPHRASE": "open sesame"}

# ---- the plaintext programs, from the documentation of socketserver and asyncio

UPPER_SERVER = """
import socketserver

class MyTCPHandler(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line.upper())

with socketserver.ThreadingTCPServer(("127.0.0.1", 0), MyTCPHandler) as server:
    print("%s:%d" % server.server_address, flush=True)
    server.serve_forever()
"""

ASYNC_SERVER = """
import asyncio

async def handle_echo(reader, writer):
    data = await reader.readline()
    writer.write(b"echo: " + data)
    await writer.drain()
    writer.close()
    await writer.wait_closed()

async def main():
    server = await asyncio.start_server(handle_echo, "127.0.0.1", 0)
    print("%s:%d" % server.sockets[0].getsockname(), flush=True)
    async with server:
        await server.serve_forever()

asyncio.run(main())
"""

# ---- the clients

CLIENT = """
import socket
import ssl
import sys

hostname, port, cabundle = sys.argv[1], int(sys.argv[2]), sys.argv[3]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.load_verify_locations(cabundle)

with socket.create_connection(("127.0.0.1", port)) as sock:
    with context.wrap_socket(sock, server_hostname=hostname) as ssock:
        ssock.sendall(b"hello\\n")
        print(ssock.version(), ssock.recv(1024).decode().strip())
"""

CLIENT_WITH_CERTIFICATE = """
import socket
import ssl
import sys

hostname, port, cabundle = sys.argv[1], int(sys.argv[2]), sys.argv[3]
context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=cabundle)
if len(sys.argv) > 4:
    context.load_cert_chain(certfile=sys.argv[4], keyfile=sys.argv[5])

with context.wrap_socket(socket.socket(socket.AF_INET), server_hostname=hostname) as conn:
    conn.connect(("127.0.0.1", port))
    conn.sendall(b"hello\\n")
    answer = conn.recv(1024)
    print(conn.version(), answer.decode().strip())
"""

CLIENT_WITH_ASYNCIO = """
import asyncio
import ssl
import sys

async def main(hostname, port, cabundle):
    context = ssl.create_default_context(cafile=cabundle)
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=hostname)
    writer.write(b"hello\\n")
    await writer.drain()
    data = await reader.read()
    print(writer.get_extra_info("ssl_object").version(), data.decode().strip())
    writer.close()
    await writer.wait_closed()

asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
"""


def program(text, *arguments):
    return [sys.executable, "-c", text, *map(str, arguments)]


def run(text, *arguments):
    return subprocess.run(program(text, *arguments), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=ringbolt.WAIT, check=False)


@pytest.fixture(scope="module")
def servers():
    """name → address of a running plaintext program."""
    running = {name: subprocess.Popen(program(text), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
               for name, text in (("upper", UPPER_SERVER), ("async", ASYNC_SERVER))}
    yield {name: process.stdout.readline().strip() for name, process in running.items()}
    for process in running.values():
        process.kill()
        process.wait()


# ---- certificates

def pki(*arguments):
    done = ringbolt.call("pki", *map(str, arguments), environment=PASSPHRASES)
    assert done.returncode == 0, done
    return done.stdout


class Hierarchy:
    """What `ringbolt pki make` made of a YAML file."""

    def __init__(self, folder, config):
        self.folder = folder
        pki("make", "-c", config, "--out", folder)

    def path(self, name):
        return os.path.join(self.folder, name)

    def pair(self, name):
        return self.path(f"{name}-chain.pem"), self.path(f"{name}.key")


@pytest.fixture(scope="module")
def hierarchy(work):
    """The example that comes with Ringbolt, and one more client that was revoked."""
    made = Hierarchy(os.path.join(work, "pki"), os.path.join(ROOT, "conf", "pki.yaml"))
    pki("key", "--out", made.path("mallory.key"))
    pki("csr", "--key", made.path("mallory.key"), "--subject", "CN=mallory", "--out", made.path("mallory.csr"))
    authority = ["--ca", made.path("intermediate.pem")]
    pki("sign", *authority, "--csr", made.path("mallory.csr"), "--profile", "client", "--out", made.path("mallory.pem"),
        "--chain", made.path("mallory-chain.pem"))
    pki("revoke", *authority, "--reason", "keyCompromise", made.path("mallory.pem"))
    pki("crl", *authority)
    pki("crl", "--ca", made.path("root.pem"))
    return made


@pytest.fixture(scope="module")
def strangers(work):
    """Another root with the same names."""
    return Hierarchy(os.path.join(work, "pki-of-strangers"), os.path.join(ROOT, "conf", "pki.yaml"))


@pytest.fixture(scope="module")
def authorities(hierarchy):
    """Root and intermediate in one file: whose clients are let in, and whose CRLs are looked into."""
    path = hierarchy.path("authorities.pem")
    with open(path, "wb") as f:
        for name in ("root.pem", "intermediate.pem"):
            with open(hierarchy.path(name), "rb") as part:
                f.write(part.read())
    return path


@pytest.fixture
def stage(start, servers, hierarchy, authorities):
    """Three listeners, each in front of one of the programs; `closed` asks for a certificate."""
    chain, key = hierarchy.pair("server")
    with open(key, encoding="ascii") as f:
        assert "ENCRYPTED" in f.read()
    certificates = {"certificates": [{"chain": chain, "key": key, "passphrase": {"env": "SERVER_KEY_PASSPHRASE"}}]}
    auth = {"mode": "required", "ca": authorities, "crl": [hierarchy.path("root.crl"), hierarchy.path("intermediate.crl")]}
    return start({"upper": [servers["upper"]], "closed": [servers["upper"]], "async": [servers["async"]]}, environment=PASSPHRASES,
                 tls={"upper": certificates, "async": certificates, "closed": {**certificates, "client_auth": auth}})


# ---- the three programs

def test_a_client_that_verifies(stage, hierarchy, strangers):
    """Host and authority."""
    port = stage["upper"].number
    done = run(CLIENT, "localhost", port, hierarchy.path("root.pem"))
    assert done.returncode == 0 and done.stdout == "TLSv1.3 HELLO\n", done
    done = run(CLIENT, "localhost", port, strangers.path("root.pem"))
    assert done.returncode != 0 and "CERTIFICATE_VERIFY_FAILED" in done.stderr, done
    done = run(CLIENT, "elsewhere.test", port, hierarchy.path("root.pem"))
    assert done.returncode != 0 and "Hostname mismatch" in done.stderr, done


def test_a_client_with_a_certificate(stage, hierarchy):
    since = stage.proxy.mark()
    done = run(CLIENT_WITH_CERTIFICATE, "localhost", stage["closed"].number, hierarchy.path("root.pem"), *hierarchy.pair("client"))
    assert done.returncode == 0 and done.stdout == "TLSv1.3 HELLO\n", done
    line = stage.proxy.connection(since, listener="closed")
    shown = pki("show", hierarchy.path("client.pem"))
    assert line["client_fingerprint"].upper() in shown.upper().replace(":", ""), (line, shown)
    assert "CN=" in line["client_subject"]


# who → (what the client is told, what the proxy says)
REFUSED = {
    "nobody": ("CERTIFICATE_REQUIRED", "certificate_required", "certificate"),
    "stranger": ("UNKNOWN_CA", "unknown_ca", "issuer"),
    "revoked": ("CERTIFICATE_REVOKED", "certificate_revoked", "revoked"),
}


@pytest.mark.parametrize("who", list(REFUSED))
def test_a_client_that_is_refused(stage, hierarchy, strangers, who):
    """The reason stands in both logs, and the server hears nothing of it."""
    pair = {"nobody": (), "stranger": strangers.pair("client"), "revoked": hierarchy.pair("mallory")}[who]
    since = stage.proxy.mark()
    done = run(CLIENT_WITH_CERTIFICATE, "localhost", stage["closed"].number, hierarchy.path("root.pem"), *pair)
    told, alert, says = REFUSED[who]
    assert done.returncode != 0 and told in done.stderr.upper().replace(" ", "_"), done
    line = stage.proxy.connection(since, listener="closed")
    assert (line["end"], line["alert"]) == ("handshake_failed", alert) and says in line["detail"], line
    assert "server" not in line


def test_a_client_with_asyncio(stage, hierarchy, strangers):
    port = stage["async"].number
    done = run(CLIENT_WITH_ASYNCIO, "localhost", port, hierarchy.path("root.pem"))
    assert done.returncode == 0 and done.stdout == "TLSv1.3 echo: hello\n", done
    done = run(CLIENT_WITH_ASYNCIO, "localhost", port, strangers.path("root.pem"))
    assert done.returncode != 0 and "CERTIFICATE_VERIFY_FAILED" in done.stderr, done


def test_without_the_passphrase_nothing_starts(stage, hierarchy):
    """Neither check nor run; and both name the variable."""
    done = ringbolt.call("check", "-c", stage.proxy.config_path)
    assert done.returncode == 3 and "SERVER_KEY_PASSPHRASE" in done.stderr and hierarchy.pair("server")[1] in done.stderr, done
    done = ringbolt.call("check", "-c", stage.proxy.config_path, environment={"SERVER_KEY_PASSPHRASE": "not it"})
    assert done.returncode == 3 and "passphrase" in done.stderr and "not it" not in done.stderr, done


def test_a_renewed_certificate_is_served(stage, hierarchy):
    """`ringbolt pki renew` writes it, the proxy finds it, the client goes on verifying."""
    port, root = stage["upper"].number, hierarchy.path("root.pem")
    before = stage.proxy.admin_json("certificates")["certificates"][0]["serial"]
    pki("renew", hierarchy.path("server.pem"), "--ca", hierarchy.path("intermediate.pem"), "--force")
    stage.proxy.admin("reload")
    assert stage.proxy.admin_json("certificates")["certificates"][0]["serial"] != before
    done = run(CLIENT, "localhost", port, root)
    assert done.returncode == 0, done
