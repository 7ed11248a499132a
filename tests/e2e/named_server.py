#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A server in a process of its own: named_server.py NAME PORT BACKLOG [HOST]. Answers each connection's first line with "NAME LINE" and closes.
Says "ready" once it listens. Its port may be held by a socket that doesn't listen (SO_REUSEPORT), so that it is there after a restart."""
import socket
import sys
import threading


def serve(sock, name):
    try:
        with sock, sock.makefile("rb") as stream:
            line = stream.readline()
            sock.sendall(name.encode() + b" " + line)
    except OSError:
        pass


def main():
    name, port, backlog = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind((sys.argv[4] if len(sys.argv) > 4 else "127.0.0.1", port))
    listener.listen(backlog)
    print("ready", flush=True)
    while True:
        sock, _ = listener.accept()
        threading.Thread(target=serve, args=(sock, name), daemon=True).start()


main()
