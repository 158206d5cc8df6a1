"""Measures how long a relay needs from exec to the first tunnel, as a median.

    measure.py COUNT CLEANUP COMMAND...

Each time, COMMAND starts a relay on port 3128, and the shell command CLEANUP ends it. The last act of
COMMAND before exec is to write the monotonic clock, in nanoseconds, to standard error. The time before
that line is the engine's.
"""

import os
import socket
import statistics
import subprocess
import sys
import time

REQUEST = b"CONNECT ch3.zerto.com:443 HTTP/1.1\r\nHost: ch3.zerto.com:443\r\n\r\n"
DEADLINE = 20


def first_tunnel(since):
    while time.monotonic() - since < DEADLINE:
        try:
            with socket.create_connection(("127.0.0.1", 3128), 5) as client:
                client.sendall(REQUEST)
                answer = client.recv(4096)
                now = time.monotonic()
        except ConnectionError:
            time.sleep(0.0005)
            continue
        if not answer.startswith(b"HTTP/1.1 200"):
            sys.exit(f"no tunnel: {answer!r}")
        return now
    sys.exit(f"no tunnel within {DEADLINE} s")


count, cleanup, *command = sys.argv[1:]
own, all_of_it = [], []
for _ in range(int(count)):
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    line = process.stderr.readline()
    try:
        executed = int(line) / 1e9
    except ValueError:
        sys.exit(f"it doesn't start: {line!r} {process.stderr.read()!r}")
    tunnel = first_tunnel(began)
    own.append(1000 * (tunnel - executed))
    all_of_it.append(1000 * (tunnel - began))
    subprocess.run(cleanup, shell=True, check=True, stdout=subprocess.DEVNULL, env=os.environ | {"RELAY": str(process.pid)})
    process.stderr.close()
    process.wait()
print(f"{statistics.median(own):.0f} {max(own):.0f} {statistics.median(all_of_it):.0f}")
