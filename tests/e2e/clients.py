# SPDX-License-Identifier: Apache-2.0
"""Clients that other people wrote, as a user would call them. Each returns what came back; each verifies the certificate."""
import hashlib
import json
import re
import socket
import ssl
import subprocess

# name → (OpenSSL's TLS 1.3 name, OpenSSL's TLS 1.2 names)
SUITES = {
    "AES-128-GCM": ("TLS_AES_128_GCM_SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256"),
    "AES-256-GCM": ("TLS_AES_256_GCM_SHA384", "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384"),
    "CHACHA20-POLY1305": ("TLS_CHACHA20_POLY1305_SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"),
}


def curl_tls(version, cipher):
    suite13, suites12 = SUITES[cipher]
    if version == "1.3":
        return ["--tlsv1.3", "--tls13-ciphers", suite13]
    return ["--tlsv1.2", "--tls-max", "1.2", "--ciphers", suites12]


def curl_command(listener, path, ca, *options):
    return ["curl", "--silent", "--show-error", "--fail", "--max-time", "900", "--cacert", ca,
            "--resolve", f"localhost:{listener.number}:127.0.0.1", *options, f"https://localhost:{listener.number}{path}"]


def curl(listener, path, ca, *options):
    """The body."""
    done = subprocess.run(curl_command(listener, path, ca, *options), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, check=False)
    assert done.returncode == 0, f"curl: {done.returncode} {done.stderr.decode()}"
    return done.stdout


def curl_digest(listener, path, ca, *options):
    """(bytes, SHA-256, the client's port) of a body that may be large."""
    digest, length = hashlib.sha256(), 0
    with subprocess.Popen(curl_command(listener, path, ca, "--write-out", "%{stderr}port=%{local_port}\n", *options), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as process:
        while True:
            data = process.stdout.read(1 << 20)
            if not data:
                break
            length += len(data)
            digest.update(data)
        error = process.stderr.read().decode()
    assert process.returncode == 0, f"curl: {process.returncode} {error} after {length} bytes"
    return length, digest.hexdigest(), int(re.search(r"port=(\d+)", error).group(1))


def request_of(path):
    return f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode()


def piped(command, request):
    """Runs a client that sends its input; the input stays open until the server has closed."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        process.stdin.write(request)
        process.stdin.flush()
        output = process.stdout.read()
        try:
            process.stdin.close()
        except BrokenPipeError:
            pass
    assert process.returncode == 0, f"{command[0]}: {process.returncode}\n{output.decode(errors='replace')}"
    return output


def s_client(listener, path, ca, version, cipher):
    suite13, suites12 = SUITES[cipher]
    tls = ["-tls1_3", "-ciphersuites", suite13] if version == "1.3" else ["-tls1_2", "-cipher", suites12]
    return piped(["openssl", "s_client", "-connect", f"127.0.0.1:{listener.number}", "-servername", "localhost",
                  "-CAfile", ca, "-verify_return_error", "-verify_hostname", "localhost", "-ign_eof", *tls], request_of(path))


def gnutls_cli(listener, path, ca, version):
    return piped(["gnutls-cli", "--x509cafile", ca, "--priority", f"NORMAL:-VERS-ALL:+VERS-TLS{version}",
                  "--port", str(listener.number), "--verify-hostname", "localhost", "--sni-hostname", "localhost", "127.0.0.1"],
                 request_of(path))


NODE = """
const [port, ca, path, version] = process.argv.slice(1);
const https = require('https');
const request = https.get({host: '127.0.0.1', port, path, servername: 'localhost', ca: require('fs').readFileSync(ca),
                           minVersion: version, maxVersion: version, agent: false}, (response) => {
  const hash = require('crypto').createHash('sha256');
  const socket = response.socket;
  const protocol = socket.getProtocol(), cipher = socket.getCipher().standardName;
  let length = 0;
  response.on('data', (data) => { hash.update(data); length += data.length; });
  response.on('end', () => console.log(JSON.stringify({protocol, cipher, length, digest: hash.digest('hex'),
                                                       complete: response.complete})));
});
request.on('error', (error) => { console.error(error.message); process.exit(1); });
"""


def node(listener, path, ca, version):
    done = subprocess.run(["node", "-e", NODE, str(listener.number), ca, path, f"TLSv{version}"], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 0, f"node: {done.returncode} {done.stderr.decode()}"
    return json.loads(done.stdout)


def python_context(ca, version):
    context = ssl.create_default_context(cafile=ca)
    number = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[version]
    context.minimum_version = context.maximum_version = number
    return context


def python_connect(listener, context, session=None):
    sock = socket.create_connection(listener.address, 30)
    return context.wrap_socket(sock, server_hostname="localhost", session=session)
