"""Acts as the billing server, over real TLS. It answers a GET with a line, and a POST with the
SHA-256 of the body.

    stand-in.py CERTIFICATE KEY [ADDRESS]

It listens on port 443. GET /slow takes five seconds, and sends a line each second.
"""

import hashlib
import http.server
import ssl
import sys
import time


class Server(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        for second in range(5 if self.path == "/slow" else 1):
            time.sleep(self.path == "/slow")
            self.wfile.write(f"line {second}\n".encode())

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(hashlib.sha256(body).hexdigest().encode() + b"\n")


certificate, key, *address = sys.argv[1:]
tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
tls.load_cert_chain(certificate, key)
server = http.server.ThreadingHTTPServer((address[0] if address else "0.0.0.0", 443), Server)
# Each connection's own thread does the handshake. Otherwise a slow client would hold up the others.
server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
