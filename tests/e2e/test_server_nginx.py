# SPDX-License-Identifier: Apache-2.0
"""nginx as the server that speaks TLS: connections that stay, large bodies, resumption."""
import hashlib
import http.client
import os
import ssl

import pytest

import clients
import pki
import ringbolt
import tls_backends

VERSIONS = ["1.2", "1.3"]


@pytest.fixture(scope="module")
def authority():
    return pki.Authority("Root of nginx")


@pytest.fixture(scope="module")
def tls_nginx(authority, tmp_path_factory, bulk):
    server = tls_backends.Nginx(authority.issue(), tmp_path_factory.mktemp("nginx"), bulk.directory)
    yield server
    server.close()


@pytest.fixture(params=VERSIONS)
def before_nginx(request, start, authority, tls_nginx, tmp_path, layer):
    ca = pki.write_whole(os.path.join(str(tmp_path), "ca.pem"), authority.leaf_pem())
    stage = start({"app": [tls_nginx.addresses[request.param]]}, layer=layer, config={"workers": 1}, sends={"app": {"tls": {"ca": ca}}})
    stage.version = request.param
    return stage


def connect(stage, certificates):
    context = ssl.create_default_context(cafile=certificates.ca)
    return http.client.HTTPSConnection("localhost", stage["app"].number, timeout=ringbolt.WAIT, context=context)


def test_connection_that_stays(before_nginx, certificates, bulk):
    """Many requests in one, bodies of all sizes in both directions."""
    since = before_nginx.proxy.mark()
    connection = connect(before_nginx, certificates)
    for size in (0, 1, 16383, 16384, 16385, 100000, 3000000):
        connection.request("POST", "/take", body=os.urandom(size))
        answer = connection.getresponse()
        assert answer.status == 200 and answer.read() == b"taken\n"
    connection.request("GET", "/bulk")
    assert hashlib.sha256(connection.getresponse().read()).hexdigest() == bulk.digest
    connection.request("POST", "/take", body=b"once more")
    assert connection.getresponse().read() == b"taken\n"
    connection.close()
    line = before_nginx.proxy.connection(since, listener="app")
    assert line["server_tls"] == f"TLSv{before_nginx.version}" and line["bytes_in"] > 3100000 and line["bytes_out"] > bulk.size


def test_resumed(before_nginx, certificates):
    """As nginx sees it: "r" or "."."""
    seen = []
    for _ in range(4):
        since = before_nginx.proxy.mark()
        got = clients.curl(before_nginx["app"], "/resumed", certificates.ca)
        seen.append((got, before_nginx.proxy.connection(since, listener="app")["server_resumed"]))
    assert seen == [(b".\n", False)] + [(b"r\n", True)] * 3
