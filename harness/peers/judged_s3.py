"""An S3 of one bucket that lets the strict double decide each request.

The one place here where the wallet's tag and the role's own policy rule over a
real write. It checks no signature: ministack and SeaweedFS do that.
"""
from __future__ import annotations

import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Dict

from .strict_sts import StrictSts

ACTIONS = {"PUT": "s3:PutObject", "GET": "s3:GetObject", "DELETE": "s3:DeleteObject"}


class JudgedS3:
    def __init__(self, sts: StrictSts) -> None:
        self.sts = sts
        self.open_to_everybody = False
        self.keeps_everything = False
        self.objects: Dict[str, bytes] = {}
        self.written: list = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> "JudgedS3":
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def allows(self, access_key_id: str, action: str, key: str) -> bool:
        if self.keeps_everything and action == "s3:DeleteObject":
            return False
        asked = {"access_key_id": access_key_id}
        return self.open_to_everybody or self.sts.authorize(asked, action, key)["allowed"]

    def _handler(self) -> type:
        s3 = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_PUT(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                bucket, _, key = self.path.lstrip("/").partition("/")
                signed = re.search(r"Credential=([A-Z0-9]+)/", self.headers.get("Authorization", ""))
                if bucket != s3.sts.bucket:
                    self._refuse(404, "NoSuchBucket")
                elif not signed or not self.headers.get("x-amz-security-token"):
                    self._refuse(403, "InvalidAccessKeyId")
                elif not s3.allows(signed.group(1), ACTIONS[self.command], key):
                    self._refuse(403, "AccessDenied")
                else:
                    if self.command == "PUT":
                        s3.objects[key] = body
                        s3.written.append(key)
                    elif self.command == "DELETE":
                        s3.objects.pop(key, None)
                    self._write(204 if self.command == "DELETE" else 200, b"")

            do_GET = do_DELETE = do_PUT

            def _refuse(self, status: int, code: str) -> None:
                self._write(status, f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode())

            def _write(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_args: object) -> None:
                """Silent."""

        return Handler
