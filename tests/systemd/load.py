"""Clients of a relay that is restarted: nothing that they try may be refused, and no tunnel of theirs may break.

Runs until SIGTERM, then prints what came of it, and fails if anything went wrong. It has an echo server of its own, which the
relay must know as the destination echo.example:7777.
"""

import signal
import socket
import sys
import threading
import time

RELAY = ("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 3128)
ECHO = ("127.0.0.1", 7777)
# This is longer than a relay takes to drain what doesn't end by itself.
PATIENCE = 60

over = threading.Event()
lock = threading.Lock()
done = {"attempts": 0, "tunnels": 0}
failures = []


def count(what):
    with lock:
        done[what] += 1


def failed(what, error):
    with lock:
        failures.append(f"{what}: {error!r}")


def echo(connection):
    with connection:
        while data := connection.recv(4096):
            connection.sendall(data)


def serve():
    with socket.create_server(ECHO) as server:
        while True:
            connection, _ = server.accept()
            threading.Thread(target=echo, args=(connection,), daemon=True).start()


def opened():
    stream = socket.create_connection(RELAY, PATIENCE)
    stream.sendall(b"CONNECT echo.example:7777 HTTP/1.1\r\nHost: echo.example:7777\r\n\r\n")
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = stream.recv(1)
        if not byte:
            raise EOFError(head)
        head += byte
    if not head.startswith(b"HTTP/1.1 200 "):
        raise ValueError(head)
    return stream


def said(stream):
    stream.sendall(b"x")
    if stream.recv(1) != b"x":
        raise EOFError("no echo")


def attempts():
    while not over.is_set():
        try:
            with opened() as stream:
                said(stream)
            count("attempts")
        except Exception as error:
            failed("an attempt", error)
        time.sleep(0.005)


def tunnels():
    """Some that are open whenever the relay is told to stop, and end by themselves."""
    while not over.is_set():
        try:
            with opened() as stream:
                for _ in range(20):
                    said(stream)
                    time.sleep(0.05)
            count("tunnels")
        except Exception as error:
            failed("a tunnel", error)


# Only this thread takes the signal.
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
threading.Thread(target=serve, daemon=True).start()
clients = [threading.Thread(target=client) for client in [attempts] * 4 + [tunnels] * 2]
for client in clients:
    client.start()
signal.sigwait({signal.SIGTERM})
over.set()
for client in clients:
    client.join()
print(f"{done['attempts']} attempts, {done['tunnels']} tunnels of a second, {len(failures)} failures", *failures[:5], sep="\n")
sys.exit(bool(failures) or not done["attempts"] or not done["tunnels"])
