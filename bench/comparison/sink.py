# SPDX-License-Identifier: Apache-2.0
"""The backend of uploads, run as a program: sink.py FD takes PUT after PUT on each connection of a listening socket.

A body is thrown away inside the kernel (MSG_TRUNC), so that this end costs next to nothing. With the path /check/SHA256 it is
read and compared: 201 if it was that, else 422.
"""
import hashlib
import re
import socket
import sys
import threading

HEAD_MAX = 16384
BLOCK = 1 << 20


def read_head(sock, rest):
    """(head, what came behind it), or None at the end of the stream."""
    data = rest
    while b"\r\n\r\n" not in data:
        more = sock.recv(HEAD_MAX)
        if not more or len(data) > HEAD_MAX:
            return None
        data += more
    head, _, rest = data.partition(b"\r\n\r\n")
    return head, rest


def take_body(sock, length, rest, digest, block):
    """What is left behind the body; None when the stream ended inside it."""
    body, rest = rest[:length], rest[length:]
    if digest:
        digest.update(body)
    left = length - len(body)
    while left:
        got = sock.recv_into(block, min(left, BLOCK), 0 if digest else socket.MSG_TRUNC)
        if not got:
            return None
        if digest:
            digest.update(memoryview(block)[:got])
        left -= got
    return rest


def serve(sock):
    block, rest = bytearray(BLOCK), b""
    with sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            while True:
                found = read_head(sock, rest)
                if not found:
                    return
                head, rest = found
                length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
                if not head.startswith(b"PUT ") or not length:
                    sock.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                    return
                check = re.match(rb"PUT /check/([0-9a-f]{64}) ", head)
                digest = hashlib.sha256() if check else None
                rest = take_body(sock, int(length.group(1)), rest, digest, block)
                if rest is None:
                    return
                is_good = not digest or digest.hexdigest().encode() == check.group(1)
                sock.sendall(b"HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n" %
                             (b"201 Created" if is_good else b"422 Unprocessable Content"))
        except OSError:  # the proxy, or its client, has gone
            return


def main():
    listener = socket.socket(fileno=int(sys.argv[1]))
    while True:
        sock, _ = listener.accept()
        threading.Thread(target=serve, args=(sock,), daemon=True).start()


if __name__ == "__main__":
    main()
