"""A small HTTP client that shows everything: status, every header line, raw body.

Over http.client, so that it follows no redirect, retries nothing and reads no
proxy from the environment.
"""
from __future__ import annotations

import http.client
import json
import ssl
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from typing import Any, List, Mapping, Optional, Tuple

PROBLEM_FIELDS = {"type", "title", "status", "detail", "code", "request_id", "retryable"}


@dataclass
class Answer:
    status: int
    headers: List[Tuple[str, str]]
    body: bytes

    def header(self, name: str) -> Optional[str]:
        found = self.header_all(name)
        return found[0] if found else None

    def header_all(self, name: str) -> List[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")

    def json(self) -> Any:
        return json.loads(self.body)

    def problem(self) -> dict:
        """The RFC 9457 document, checked for its shape."""
        kind = self.header("content-type") or ""
        assert kind.split(";")[0] == "application/problem+json", f"{self.status} {kind}: {self.text}"
        document = self.json()
        assert PROBLEM_FIELDS <= set(document), document
        assert document["status"] == self.status
        assert document["request_id"] == self.header("x-request-id")
        return document

    def __str__(self) -> str:
        return f"{self.status} {self.text[:500]}"


class Client:
    """One kept-alive connection. Reconnects only when `fresh` or after a close."""

    def __init__(self, url: str, ca: Optional[Path] = None, timeout: float = 15) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme == "https":
            context = ssl.create_default_context(cafile=str(ca) if ca else None)
            self._connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                parts.hostname or "", parts.port, timeout=timeout, context=context
            )
        else:
            self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        token: Optional[str] = None,
        headers: Optional[Mapping[str, str]] = None,
    ) -> Answer:
        sent = dict(headers or {})
        if token is not None:
            sent.setdefault("Authorization", f"Bearer {token}")
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
            sent.setdefault("Content-Type", "application/json")
        self._connection.request(method, path, body, sent)
        answer = self._connection.getresponse()
        return Answer(answer.status, answer.getheaders(), answer.read())

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()
