"""Uploads a file through a proxy, with requests or httpx, and prints what the server answers.

    upload.py requests|httpx PROXY CA URL FILE

CA is a file with the authorities that issue the server's certificate, and the proxy's if it has
one. A proxy that the environment names doesn't count. Errors are printed in the library's own
words, with the exit code 1.
"""

import ssl
import sys


def with_requests(proxy, ca, url, body):
    import requests

    with requests.Session() as session:
        session.trust_env = False
        session.proxies = {"https": proxy}
        return session.post(url, data=body, verify=ca)


def with_httpx(proxy, ca, url, body):
    import httpx

    trusted = ssl.create_default_context(cafile=ca)
    transport = httpx.HTTPTransport(proxy=httpx.Proxy(proxy), verify=trusted, trust_env=False)
    with httpx.Client(transport=transport) as client:
        return client.post(url, content=body)


library, proxy, ca, url, file = sys.argv[1:]
upload = {"requests": with_requests, "httpx": with_httpx}[library]
with open(file, "rb") as opened:
    body = opened.read()
try:
    response = upload(proxy, ca, url, body)
    response.raise_for_status()
except Exception as error:
    sys.exit(f"{type(error).__name__}: {error}")
print(response.text)
