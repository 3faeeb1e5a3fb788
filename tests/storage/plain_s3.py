"""An S3 server of one folder's size, in memory, over http and https, which does wrong what real endpoints do wrong.

It decodes aws-chunked framing unless `framing` is "kept", as endpoints do that know nothing of it.
"""

from __future__ import annotations

import hashlib
import re
import ssl
import threading
import urllib.parse
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Literal, Self
from xml.sax.saxutils import escape

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

Fault = Literal["slow down", "cut", "error", "lose body"] | None
"""Answer 503 SlowDown; keep or give half of a body; answer 200 with an error in the body; keep nothing."""

ERROR = b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>InternalError</Code><Message>no</Message></Error>'


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Write a self-signed certificate of this machine's loopback, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(Encoding.PEM))
    paths[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return paths


class PlainS3:
    """A server on a port of its own. `fault(method, path)` decides about each request; `seen` has every one that came,
    with the Content-Encoding of its body."""

    def __init__(self, certificate: tuple[Path, Path] | None = None, framing: Literal["kept", "decoded"] = "decoded"):
        self.objects: dict[str, bytes] = {}
        self.uploads: dict[str, dict[int, bytes]] = {}
        self.framing = framing
        self.fault: Callable[[str, str], Fault] = lambda method, path: None
        self.seen: list[tuple[str, str, str]] = []
        self.writing = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"s3": self}))
        scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            scheme = "https"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    s3: PlainS3

    def log_message(self, *_: object) -> None:
        pass

    def do_PUT(self) -> None:
        key, query, fault, body = self._request()
        if fault == "cut":
            body = body[: len(body) // 2]
        with self.s3.writing:
            there = self.s3.objects.get(key)
            if self.headers.get("If-None-Match") == "*" and there is not None:
                return self._refuse(412, "PreconditionFailed")
            wanted = self.headers.get("If-Match")
            if wanted is not None and (there is None or wanted.strip('"') != _tag(there)):
                return self._refuse(412, "PreconditionFailed")
            if fault in ("error", "slow down"):
                return self._fail(fault)
            if fault == "lose body":
                pass
            elif "uploadId" in query:
                self.s3.uploads[query["uploadId"]][int(query["partNumber"])] = body
            else:
                self.s3.objects[key] = body
        return self._answer(200, ETag=f'"{_tag(body)}"')

    def do_POST(self) -> None:
        key, query, fault, _ = self._request()
        if fault in ("error", "slow down"):
            return self._fail(fault)
        if "uploads" in query:
            number = str(len(self.s3.uploads) + 1)
            self.s3.uploads[number] = {}
            made = f"<InitiateMultipartUploadResult><UploadId>{number}</UploadId></InitiateMultipartUploadResult>"
            return self._answer(200, made.encode())
        parts = self.s3.uploads[query["uploadId"]]
        self.s3.objects[key] = b"".join(parts[number] for number in sorted(parts))
        return self._answer(
            200, b'<CompleteMultipartUploadResult><ETag>"several-1"</ETag></CompleteMultipartUploadResult>'
        )

    def do_GET(self) -> None:
        key, query, fault, _ = self._request()
        if fault in ("error", "slow down"):
            return self._fail(fault)
        if "list-type" in query or "uploads" in query:
            return self._list(key.strip("/"), query)
        body = self.s3.objects.get(key)
        if body is None:
            return self._refuse(404, "NoSuchKey")
        headers = {"ETag": f'"{_tag(body)}"', "Last-Modified": formatdate(usegmt=True)}
        status, size = 200, len(body)
        if wanted := re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            start, end = int(wanted[1]), min(int(wanted[2] or size - 1), size - 1)
            status, body = 206, body[start : end + 1]
            headers["Content-Range"] = f"bytes {start}-{end}/{size}"
        if fault == "cut":
            body = body[: len(body) // 2]
        return self._answer(status, body, **headers)

    do_HEAD = do_GET

    def do_DELETE(self) -> None:
        key, query, _, _ = self._request()
        if "uploadId" in query:
            self.s3.uploads.pop(query["uploadId"], None)
        else:
            self.s3.objects.pop(key, None)
        self._answer(204)

    def _list(self, bucket: str, query: dict[str, str]) -> None:
        start = f"{bucket}/{query.get('prefix', '')}"
        items = "".join(
            f"<Contents><Key>{escape(key[len(bucket) + 1 :])}</Key><Size>{len(body)}</Size></Contents>"
            for key, body in sorted(self.s3.objects.items()) if key.startswith(start)
        )  # fmt: skip
        name = "ListMultipartUploadsResult" if "uploads" in query else "ListBucketResult"
        items = items if name == "ListBucketResult" else ""
        self._answer(200, f"<{name}><IsTruncated>false</IsTruncated>{items}</{name}>".encode())

    def _request(self) -> tuple[str, dict[str, str], Fault, bytes]:
        """The key, the query, what is to go wrong, and the body as this server takes it to be."""
        address = urllib.parse.urlsplit(self.path)
        key = urllib.parse.unquote(address.path).lstrip("/")
        query = dict(urllib.parse.parse_qsl(address.query, keep_blank_values=True))
        encoding = self.headers.get("Content-Encoding", "")
        self.s3.seen.append((self.command, self.path, encoding))
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = self._chunks()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if "aws-chunked" in encoding and self.s3.framing == "decoded":
            body = _decoded(body)
        return key, query, self.s3.fault(self.command, self.path), body

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return body

    def _fail(self, fault: Fault) -> None:
        if fault == "slow down":
            self._refuse(503, "SlowDown")
        else:
            self._answer(200, ERROR, **{"ETag": '"0"', "Last-Modified": formatdate(usegmt=True)})

    def _refuse(self, status: int, code: str) -> None:
        self._answer(status, f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode())

    def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _decoded(framed: bytes) -> bytes:
    body, rest = b"", framed
    while True:
        line, _, rest = rest.partition(b"\r\n")
        size = int(line.split(b";")[0], 16)
        if size == 0:
            return body
        body, rest = body + rest[:size], rest[size + 2 :]


def _tag(body: bytes) -> str:
    return hashlib.md5(body, usedforsecurity=False).hexdigest()
