"""Passes bytes on to a server as they are, and remembers who signed the requests in them.

No SDK's word is taken for the credential that it used: what went over the wire says it,
and the server behind, which saw the same bytes, has checked the signature.
"""
from __future__ import annotations

import base64
import json
import re
import socket
import threading
from typing import List, NamedTuple
from urllib.parse import urlsplit

HEAD = re.compile(rb"[A-Z]+ \S+ HTTP/1\.1\r\n(?:[^\r\n]+\r\n)+\r\n")
SIGNER = re.compile(rb"(?im)^authorization: AWS4-HMAC-SHA256 Credential=(\w+)/")
TOKEN = re.compile(rb"(?im)^x-amz-security-token: (\S+)\r$")


class Signed(NamedTuple):
    """Who signed one request."""

    access_key_id: str
    # As STS wrote it into the session token; empty for a request that carried none.
    session_name: str


class Relay:
    def __init__(self, target: str) -> None:
        where = urlsplit(target)
        self._target = (where.hostname, where.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._signed: List[Signed] = []
        self._lock = threading.Lock()

    def __enter__(self) -> "Relay":
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._listener.close()

    def taken(self) -> List[Signed]:
        """Who signed each request since the last time that this was asked."""
        with self._lock:
            taken, self._signed = self._signed, []
        return taken

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._target)
            threading.Thread(target=self._requests, args=(client, server), daemon=True).start()
            threading.Thread(target=_copy, args=(server, client), daemon=True).start()

    def _requests(self, client: socket.socket, server: socket.socket) -> None:
        _copy(client, server, self._remember)

    def _remember(self, seen: bytes) -> bytes:
        """Takes the whole heads out of what was seen, and gives the rest back."""
        end = 0
        for head in HEAD.finditer(seen):
            end = head.end()
            signer, token = SIGNER.search(head.group()), TOKEN.search(head.group())
            with self._lock:
                self._signed.append(
                    Signed(
                        signer.group(1).decode() if signer else "",
                        _session_name(token.group(1)) if token else "",
                    )
                )
        return seen[end:]


def _copy(source: socket.socket, sink: socket.socket, watch=lambda seen: b"") -> None:
    seen = b""
    try:
        while True:
            data = source.recv(65536)
            if not data:
                break
            # Before they are passed on: whoever has an answer finds its request remembered.
            seen = watch(seen + data)
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        for end in (source, sink):
            end.close()


def _session_name(token: bytes) -> str:
    """SeaweedFS's session tokens are JWTs of its own."""
    payload = token.split(b".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + b"=" * (-len(payload) % 4)))["snam"]
