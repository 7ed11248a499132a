# SPDX-License-Identifier: Apache-2.0
"""The command line: what it says, where it says it, and its exit status."""
import json
import os
import signal
import socket

import pytest

import clients
import rawtls
import ringbolt
from ringbolt import call


def test_version():
    done = call("--version")
    assert done.returncode == 0 and done.stdout.startswith("ringbolt ") and not done.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["check", "--help"], ["probe", "--help"]])
def test_help(arguments):
    done = call(*arguments)
    assert done.returncode == 0 and "ringbolt" in done.stdout and not done.stderr


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["--nonsense"], ["run", "--nonsense"], ["check"],
                                       ["run", "--listen", "127.0.0.1:0"], ["run", "--cert", "x"], ["probe", "extra"]])
def test_wrong_usage(arguments, work):
    done = call(*arguments, cwd=work)
    expected = (2, 3) if arguments in ([], ["check"]) else (2,)  # these may look for the default file
    assert done.returncode in expected and done.stderr and not done.stdout


@pytest.mark.guest
def test_probe():
    done = call("probe")
    assert done.returncode == 0 and "TLS" in done.stdout
    report = json.loads(call("probe", "--json").stdout)
    assert isinstance(report, dict) and report["aes_gcm"] in ("OpenSSL", "libipsec-mb")
    assert f"AES-GCM there by: {report['aes_gcm']}" in done.stdout


@pytest.fixture
def place(tmp_path, certificates):
    """A directory as a user has it: configuration and certificate side by side."""
    for name, source in (("server.pem", certificates.ecdsa[0]), ("server.key", certificates.ecdsa[1])):
        with open(source, encoding="ascii") as f:
            (tmp_path / name).write_text(f.read())
    os.chmod(tmp_path / "server.key", 0o600)
    return tmp_path


# `admin` is not needed for it, but root's default would be the same for all tests at once.
SMALLEST = """\
admin: {{ socket: admin.sock }}
listeners:
  - address: "127.0.0.1:{port}"
    tls:
      certificates:
        - {{ chain: "server.pem", key: "server.key" }}
    upstream: app
upstreams:
  - name: app
    servers: [ {{ address: "{server}" }} ]
"""


def test_the_smallest_file(place, actor, dial):
    """The file of the manual, relative paths and all, checked and then run from another directory."""
    port = ringbolt.Port()
    (place / "ringbolt.yaml").write_text(SMALLEST.format(port=port.address[1], server=actor.address))
    done = call("check", "-c", str(place / "ringbolt.yaml"), cwd="/")
    assert done.returncode == 0, done.stderr
    proxy = ringbolt.Ringbolt("/tmp", arguments=["run", "-c", str(place / "ringbolt.yaml")])
    client = rawtls.RawClient(port.address).handshake()
    client.send_data(b"echo x\nhello")
    assert client.read(5) == b"hello"
    client.close_notify()
    assert client.end() == "close_notify"
    client.close()
    proxy.stop(signal.SIGTERM)
    port.close()


GOOD = SMALLEST.format(port=8443, server="127.0.0.1:8080")

# name → (replacement in the good file, what the complaint must say)
BAD = {
    "unknown key": ("upstream: app", "upstream: app\n    upstraem: app", "upstraem"),
    "unknown upstream": ("upstream: app", "upstream: nobody", "nobody"),
    "missing file": ('"server.pem"', '"absent.pem"', "absent.pem"),
    "key of another certificate": ('"server.key"', '"other.key"', "other.key"),
    "not an address": ('"127.0.0.1:8443"', '"127.0.0.1"', "127.0.0.1"),
    "port too large": (":8443", ":84430", "84430"),
    "wrong type": ("upstreams:\n", "workers: many\nupstreams:\n", "many"),
    "reserved key": ("    upstream: app\n", "    upstream: app\n    redirect: x\n", "redirect"),
    "broken YAML": ("listeners:\n", "listeners: [\n", ":"),
    "no listeners": ("listeners:", "listener:", "listener"),
    "bad time": ("upstreams:\n", "timeouts: { idle: 5 parsecs }\nupstreams:\n", "parsecs"),
    "bad version": ("    tls:\n", '    tls:\n      min_version: "1.1"\n', "1.1"),
}


@pytest.mark.parametrize("command", ["check", "run"])
@pytest.mark.parametrize("name", list(BAD))
def test_bad_configuration(place, certificates, name, command):
    """Exit status 3, and every complaint with file, line and column."""
    before, after, says = BAD[name]
    assert before in GOOD
    with open(certificates.rsa[1], encoding="ascii") as f:
        (place / "other.key").write_text(f.read())
    os.chmod(place / "other.key", 0o600)
    path = place / "ringbolt.yaml"
    path.write_text(GOOD.replace(before, after, 1))
    done = call(command, "-c", str(path))
    assert done.returncode == 3, done
    assert not done.stdout
    complaints = [line for line in done.stderr.splitlines() if line.startswith(f"{path}:")]
    assert complaints and any(says in line for line in complaints), done.stderr
    for line in complaints:
        assert all(part.isdigit() for part in line[len(str(path)) + 1:].split(":")[:2]), line


def test_everything_wrong_in_one_run(place):
    path = place / "ringbolt.yaml"
    text = GOOD.replace("upstream: app", "upstream: nobody").replace("server.pem", "absent.pem").replace(":8443", ":84430")
    path.write_text(text)
    done = call("check", "-c", str(path))
    assert done.returncode == 3
    assert all(word in done.stderr for word in ("nobody", "84430")), done.stderr


def test_no_configuration(tmp_path):
    done = call("run", "-c", str(tmp_path / "absent.yaml"))
    assert done.returncode == 3 and "absent.yaml" in done.stderr


def test_quick_mode(work, actor):
    """No file: one listener, one backend, a development certificate whose authority is written where asked."""
    port = ringbolt.Port()
    ca = os.path.join(work, "development-ca.pem")
    proxy = ringbolt.Ringbolt(work, arguments=["run", "--listen", port.text, "--to", actor.address, "--dev-ca", ca])
    assert any(line["level"] == "warning" and "development" in line["message"] for line in proxy.lines)

    for name in ("localhost", "127.0.0.1"):
        context = clients.python_context(ca, "1.3")
        with context.wrap_socket(socket.create_connection(port.address), server_hostname=name) as client:
            client.sendall(b"echo x\nhello")
            assert client.recv(100) == b"hello"
    proxy.stop()
    port.close()


def test_quick_mode_with_a_certificate(work, actor, certificates):
    port = ringbolt.Port()
    proxy = ringbolt.Ringbolt(work, arguments=["run", "--listen", port.text, "--to", actor.address,
                                               "--cert", certificates.rsa[0], "--key", certificates.rsa[1]])
    client = rawtls.RawClient(port.address, certificate="rsa").handshake()
    client.send_data(b"echo x\nhello")
    assert client.read(5) == b"hello"
    client.close()
    proxy.stop()
    port.close()
