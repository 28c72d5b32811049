"""A reverse proxy that spoils what passes: the load balancer, cache or clock that is wrong.

It stands before a broker as its public URL, or before STS. Untouched it passes
every byte and the Host, so that signatures hold.
"""
from __future__ import annotations

import http.client
import threading
import time
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Callable, Optional
from urllib.parse import urlsplit

Edit = Callable[[str, bytes], bytes]
# Of one hop, or made anew here.
HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"}


class Front:
    def __init__(self, target: Optional[str] = None) -> None:
        self.target = target
        self.forgive()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def forgive(self) -> None:
        """No fault."""
        self.edit: Optional[Edit] = None
        self.delay_seconds = 0.0
        self.date_offset_seconds = 0.0
        self.redirect_to: Optional[str] = None

    def __enter__(self) -> "Front":
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type:
        front = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                time.sleep(front.delay_seconds)
                if front.redirect_to:
                    self._write(302, [("Location", front.redirect_to)], b"")
                    return
                status, headers, body = self._passed_on()
                if front.edit:
                    body = front.edit(self.path, body)
                self._write(status, headers, body)

            do_POST = do_PUT = do_DELETE = do_GET

            def _passed_on(self) -> tuple:
                assert front.target, "a front without a target"
                where = urlsplit(front.target)
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                connection = http.client.HTTPConnection(where.hostname, where.port, timeout=30)
                try:
                    connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                    for name, value in self.headers.items():
                        connection.putheader(name, value)
                    connection.endheaders(body)
                    answer = connection.getresponse()
                    kept = [(n, v) for n, v in answer.getheaders() if n.lower() not in HOP]
                    return answer.status, kept, answer.read()
                finally:
                    connection.close()

            def _write(self, status: int, headers: list, body: bytes) -> None:
                try:
                    self.send_response_only(status)
                    self.send_header("Date", formatdate(time.time() + front.date_offset_seconds, usegmt=True))
                    for name, value in headers:
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

            def log_message(self, *_args: object) -> None:
                """Silent."""

        return Handler
