# SPDX-License-Identifier: Apache-2.0
"""What people put behind Ringbolt: databases, sockets of the web, long streams of HTTP/2, each with its own server and client."""
import asyncio
import hashlib
import os
import re
import shutil
import ssl
import subprocess

import pytest

import ringbolt
import servers

HERE = os.path.dirname(os.path.abspath(__file__))


def started(kind, *arguments):
    try:
        return kind(*arguments)
    except servers.Missing as missing:
        pytest.skip(str(missing))


def run(*arguments, **options):
    done = subprocess.run(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120, check=False,
                          **({} if "input" in options else {"stdin": subprocess.DEVNULL}), **options)
    assert done.returncode == 0, (arguments, done.stdout[-2000:], done.stderr[-2000:])
    return done.stdout


# ---- Redis

@pytest.fixture(scope="module")
def redis(work):
    server = started(servers.Redis, work)
    yield server
    server.close()


def test_redis(start, redis, certificates, layer, tmp_path):
    stage = start({"redis": [redis.address]}, layer=layer)
    cli = ["redis-cli", "--tls", "-h", "127.0.0.1", "-p", str(stage["redis"].number), "--cacert", certificates.ca, "--sni", "localhost"]
    assert run(*cli, "PING") == b"PONG\n"
    value = os.urandom(3_000_000)
    assert run(*cli, "-x", "SET", f"big-{layer}", input=value) == b"OK\n"
    got = run(*cli, "GET", f"big-{layer}")
    assert got[:-1] == value
    commands = b"".join(b"*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$5\r\nvalue\r\n" % (len(key), key) for key in (b"k%d" % n for n in range(20000)))
    assert b"replies: 20000" in run(*cli, "--pipe", input=commands)
    assert run(*cli, "EXISTS", "k0", "k19999") == b"2\n"


# ---- PostgreSQL

@pytest.fixture(scope="module")
def postgres(work):
    server = started(servers.Postgres, work)
    yield server
    server.close()


@pytest.mark.any_layer
def test_postgres(start, postgres, certificates, work):
    """TLS from the first byte. psql can do that from version 17 on (sslnegotiation=direct); older ones speak to a bridge that does.
    PostgreSQL's own negotiation inside a plaintext connection is none of a TLS proxy's business."""
    stage = start({"postgres": [postgres.address]}, tls={"postgres": {"alpn": ["postgresql"]}})
    version = int(re.search(rb"\) (\d+)", run("psql", "--version"))[1])
    bridge = None
    if version >= 17:
        target = (f"host=localhost hostaddr=127.0.0.1 port={stage['postgres'].number} sslmode=verify-full sslnegotiation=direct "
                  f"sslrootcert={certificates.ca}")
    else:
        folder = os.path.join(work, "postgres-bridge")
        os.mkdir(folder)
        bridge = servers.TlsBridge(os.path.join(folder, ".s.PGSQL.5432"), stage["postgres"], certificates.ca, "postgresql")
        target = f"host={folder} sslmode=disable"
    try:
        psql = ["psql", "-X", "-q", "-A", "-t", f"{target} dbname=postgres user={postgres.user}"]
        assert run(*psql, "-c", "select 6 * 7") == b"42\n"
        rows = run(*psql, "-c", "select n, md5(n::text) from generate_series(1, 50000) n").decode().splitlines()
        assert rows == [f"{n}|{hashlib.md5(str(n).encode(), usedforsecurity=False).hexdigest()}" for n in range(1, 50001)]
        run(*psql, "-c", "create table if not exists copied (line text)", "-c", "truncate copied")
        lines = b"".join(b"%d %s\n" % (n, os.urandom(20).hex().encode()) for n in range(50000))
        run(*psql, "-c", "copy copied from stdin", input=lines)
        assert run(*psql, "-c", "copy copied to stdout") == lines
    finally:
        if bridge:
            bridge.close()
    ended = stage.proxy.connection(listener="postgres")
    assert ended["alpn"] == "postgresql" and ended["end"] in ("done", "client_truncated")  # the bridge closes without a word


# ---- WebSocket

def test_websocket(start, certificates, layer):
    websockets = pytest.importorskip("websockets", reason="python3-websockets is not installed: scripts/install-deps test")
    messages = ["a", "ü" * 1000, os.urandom(1), os.urandom(125), os.urandom(65535), os.urandom(1_500_000)]
    seen = []

    async def echo(socket, _path=None):
        try:
            async for message in socket:
                await socket.send(message)
        except websockets.ConnectionClosed:
            seen.append((socket.close_code, socket.close_reason))

    async def talk():
        async with websockets.serve(echo, "127.0.0.1", 0, max_size=None) as server:
            port = server.sockets[0].getsockname()[1]
            stage = await asyncio.to_thread(start, {"ws": [f"127.0.0.1:{port}"]}, layer=layer)
            context = ssl.create_default_context(cafile=certificates.ca)
            target = f"wss://127.0.0.1:{stage['ws'].number}/chat"
            async with websockets.connect(target, ssl=context, server_hostname="localhost", max_size=None) as socket:
                for message in messages:
                    await socket.send(message)
                    assert await socket.recv() == message
                await asyncio.wait_for(await socket.ping(), ringbolt.WAIT)
                await socket.close(4001, "that was all")
            return stage

    stage = asyncio.run(talk())
    assert seen == [(4001, "that was all")]
    assert stage.proxy.connection(listener="ws")["end"] in ("done", "client_truncated")


# ---- streams as gRPC has them

@pytest.mark.parametrize("streams, messages, size", [(1, 2000, 100), (50, 40, 20000), (3, 20, 1_000_000)])
def test_long_streams(start, certificates, layer, streams, messages, size):
    if not shutil.which("node"):
        pytest.skip("node is not installed: scripts/install-deps test")
    if ringbolt.GUEST:
        messages = max(1, messages // 10)
    script = os.path.join(HERE, "streams.js")
    with subprocess.Popen(["node", script, "serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        try:
            port = int(server.stdout.readline())
            stage = start({"grpc": [f"127.0.0.1:{port}"]}, layer=layer, tls={"grpc": {"alpn": ["h2"]}})
            printed = run("node", script, "talk", str(stage["grpc"].number), certificates.ca, str(streams), str(messages), str(size))
            assert int(printed) == streams * messages
            assert stage.proxy.connection(listener="grpc")["alpn"] == "h2"
        finally:
            server.stdin.close()
            server.wait(ringbolt.WAIT)
