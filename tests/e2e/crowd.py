#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Many TLS clients at once, each behaving as chance has it, and the echo server behind the proxy.

    crowd.py serve                        prints its address, ends when its input does
    crowd.py run HOST:PORT COUNT SECONDS  exit status 1 when a stream that completed was not intact

The TLS of the clients is OpenSSL over memory, so that they can half-close: send close_notify and read on.
"""
import asyncio
import hashlib
import random
import ssl
import struct
import sys
import time

CHUNK = 16384


async def echo(reader, writer):
    """Echoes until the client's direction has ended, then ends its own."""
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except (ConnectionError, OSError):
        pass
    finally:
        writer.close()


async def serve():
    server = await asyncio.start_server(echo, "127.0.0.1", 0, backlog=4096)
    host, port = server.sockets[0].getsockname()
    print(f"{host}:{port}", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


class Broken(Exception):
    """What no random behaviour explains."""


class Client:
    """TLS over a plain asyncio stream."""

    def __init__(self, reader, writer, context):
        self.reader, self.writer = reader, writer
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")

    async def flush(self):
        if self.outgoing.pending:
            self.writer.write(self.outgoing.read())
            await self.writer.drain()

    async def feed(self):
        data = await self.reader.read(65536)
        if data:
            self.incoming.write(data)
        else:
            self.incoming.write_eof()

    async def handshake(self):
        while True:
            try:
                self.tls.do_handshake()
                await self.flush()
                return
            except ssl.SSLWantReadError:
                await self.flush()
                await self.feed()

    async def send(self, data):
        self.tls.write(data)
        await self.flush()

    async def read(self):
        """Some bytes; b"" after close_notify. Anything else is Broken."""
        while True:
            try:
                return self.tls.read(65536)
            except ssl.SSLWantReadError:
                await self.flush()
                await self.feed()
            except ssl.SSLZeroReturnError:
                return b""

    async def half_close(self):
        try:
            self.tls.unwrap()
        except ssl.SSLWantReadError:
            pass
        await self.flush()

    def abort(self):
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(1, 13, struct.pack("ii", 1, 0))  # SOL_SOCKET, SO_LINGER: close sends a reset
        self.writer.close()


async def converse(client, rng, size):
    """Sends `size` bytes in chunks of random sizes with random pauses, half-closes, and reads all of it back."""
    sent, received = hashlib.sha256(), hashlib.sha256()
    count = 0

    async def read_all():
        nonlocal count
        while data := await client.read():
            received.update(data)
            count += len(data)

    reading = asyncio.ensure_future(read_all())
    left = size
    while left > 0:
        data = rng.randbytes(min(left, rng.randint(1, 3 * CHUNK)))
        left -= len(data)
        sent.update(data)
        await client.send(data)
        if rng.random() < 0.2:
            await asyncio.sleep(rng.random() * 0.05)
    await client.half_close()
    await reading
    if count != size or sent.digest() != received.digest():
        raise Broken(f"{count} of {size} bytes came back, or other ones")


async def one(address, contexts, rng, tally):
    """One connection with one behaviour."""
    behaviour = rng.choices(["converse", "abort", "vanish", "hello_only", "connect_only"], [70, 12, 8, 5, 5])[0]
    reader, writer = await asyncio.open_connection(*address)
    client = Client(reader, writer, rng.choice(contexts))
    try:
        if behaviour == "connect_only":
            await asyncio.sleep(rng.random() * 0.1)
            return
        if behaviour == "hello_only":
            try:
                client.tls.do_handshake()
            except ssl.SSLWantReadError:
                await client.flush()
            return
        await client.handshake()
        if behaviour == "converse":
            await converse(client, rng, int(rng.paretovariate(0.6) * 200) % 600_000)
        elif behaviour == "abort":
            await client.send(rng.randbytes(rng.randint(1, 100_000)))
            client.abort()
        else:
            await client.send(rng.randbytes(rng.randint(1, 1000)))
    finally:
        tally[behaviour] = tally.get(behaviour, 0) + 1
        writer.close()


async def keep_on(address, contexts, seed, until, tally, errors):
    rng = random.Random(seed)
    while time.monotonic() < until and not errors:
        try:
            await asyncio.wait_for(one(address, contexts, rng, tally), 120)
        except Exception as error:  # whatever it is: the stream should have completed
            errors.append(f"client {seed}: {error!r}")


def contexts_make():
    contexts = []
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # other tests verify
        context.minimum_version = context.maximum_version = version
        contexts.append(context)
    return contexts


async def run(address, count, seconds):
    host, port = address.rsplit(":", 1)
    until = time.monotonic() + seconds
    tally, errors = {}, []
    contexts = contexts_make()
    await asyncio.gather(*(keep_on((host, int(port)), contexts, seed, until, tally, errors) for seed in range(count)))
    print(", ".join(f"{number} {behaviour}" for behaviour, number in sorted(tally.items())))
    for error in errors[:10]:
        print(error)
    return 1 if errors else 0


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        asyncio.run(serve())
    else:
        sys.exit(asyncio.run(run(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))))
