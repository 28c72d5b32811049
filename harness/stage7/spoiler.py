"""A reverse proxy that spoils one kind of request or answer and passes everything else byte by byte.

The rule's `request` is a method (or `*`) and a pattern of the path. What it does:
`answer` instead of asking the broker, or to the request (`send`), or to the
answer: `status`, `header`, `drop` (header fields), `json`, `without` (fields of
the body), `body` (a pattern and its replacement). `when` names the one status
that is spoiled, `delay` (seconds) holds the answer back, `asks_sts` makes a call
to STS for each request, and `door: metrics` means the listener of the metrics.
"""
from __future__ import annotations

import http.client
import itertools
import json
import os
import re
import socket
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Callable, Dict, List, Optional, Tuple

HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}
Headers = List[Tuple[str, str]]
BIND_SECONDS = 5
_count = itertools.count(1)


class Spoiler(ThreadingHTTPServer):
    daemon_threads = True
    # As deep as the broker's own, for tests of many connections at once.
    request_queue_size = 512

    def __init__(
        self, public: int, private: int, rule: Dict[str, Any], applied: Callable[[], None], sts: Optional[str] = None
    ) -> None:
        self.private, self.rule, self.applied, self.sts = private, rule, applied, sts
        deadline = time.monotonic() + BIND_SECONDS
        while True:
            try:
                super().__init__(("127.0.0.1", public), Handler)
                return
            except OSError:
                # The proxy of the broker before this one is about to end.
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def matches(self, method: str, path: str) -> bool:
        wanted_method, pattern = self.rule.get("request", "- -").split(" ", 1)
        return wanted_method in ("*", method) and re.fullmatch(pattern, path.split("?")[0]) is not None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Spoiler

    def any_method(self) -> None:
        # As it was sent: http.server takes double slashes out of `self.path`.
        path = self.requestline.split(" ")[1]
        body, headers = self._body(), list(self.headers.items())
        rule = self.server.rule if self.server.matches(self.command, path) else {}
        try:
            if "answer" in rule:
                self.server.applied()
                answer = rule["answer"]
                self._write(answer["status"], list(answer.get("headers", {}).items()), answer.get("body", "").encode())
                return
            if rule.get("asks_sts") and self.server.sts:
                self.server.applied()
                self._ask_sts(self.server.sts)
            if "send" in rule:
                path, headers, body = self._spoil_request(rule["send"], path, headers, body)
            status, answered, content = self._ask(path, headers, body)
            if rule and rule.get("when", status) == status:
                status, answered, content = self._spoil_answer(rule, status, answered, content)
            self._write(status, answered, content)
        except (OSError, http.client.HTTPException):
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = any_method

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", "0")))

    def _ask(self, path: str, headers: Headers, body: bytes) -> Tuple[int, Headers, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.private, timeout=60)
        try:
            connection.putrequest(self.command, path, skip_host=True, skip_accept_encoding=True)
            declared = False
            for name, value in headers:
                declared = declared or name.lower() in ("content-length", "transfer-encoding")
                if name.lower() not in HOP and name.lower() != "expect":
                    connection.putheader(name, value)
            if declared or body:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body or None)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def _ask_sts(self, endpoint: str) -> None:
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        connection = http.client.HTTPConnection(endpoint.split("://")[1], timeout=5)
        connection.request("POST", "/", b"Action=GetCallerIdentity&Version=2011-06-15", form)
        connection.getresponse().read()
        connection.close()

    def _spoil_request(self, change: Dict[str, Any], path: str, headers: Headers, body: bytes) -> tuple:
        before = (path, list(headers), body)
        headers = [(n, v) for n, v in headers if n.lower() not in change.get("drop", [])]
        own = str(self.server.private)
        for name, (old, new) in change.get("swap", {}).items():
            old, new = old.replace("$PUBLIC", str(self.server.server_address[1])), new.replace("$PRIVATE", own)
            headers = [(n, new if n.lower() == name and v == old else v) for n, v in headers]
        headers += [(name, value.replace("$PRIVATE", own)) for name, value in change.get("header", {}).items()]
        if "path" in change:
            path = change["path"]
        if "json" in change or "without" in change:
            body = _edit_json(body or b"{}", change)
        if "body" in change:
            body = _substitute(change["body"], body)
        if (path, headers, body) != before:
            self.server.applied()
        return path, headers, body

    def _spoil_answer(self, rule: Dict[str, Any], status: int, headers: Headers, body: bytes) -> tuple:
        before = (status, list(headers), body)
        if "delay" in rule:
            self.server.applied()
            time.sleep(rule["delay"])
        changed = {name.lower() for name in rule.get("header", {})} | set(rule.get("drop", []))
        headers = [(n, v) for n, v in headers if n.lower() not in changed] + list(rule.get("header", {}).items())
        if "json" in rule or "without" in rule:
            body = _edit_json(body, rule)
        if "body" in rule:
            body = _substitute(rule["body"], body)
        status = rule.get("status", status)
        if (status, headers, body) != before:
            self.server.applied()
        return status, headers, body

    def _write(self, status: int, headers: Headers, body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in HOP:
                self.send_header(name, value)
        if status != 304:
            declared = len(body)
            if self.command == "HEAD":
                declared = int(dict((n.lower(), v) for n, v in headers).get("content-length", 0))
            self.send_header("Content-Length", str(declared))
        self.end_headers()
        if self.command != "HEAD" and status != 304:
            self.wfile.write(body)

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def log_message(self, *_args: object) -> None:
        """Silent."""


def _edit_json(body: bytes, change: Dict[str, Any]) -> bytes:
    try:
        document = json.loads(body)
    except ValueError:
        return body
    for path, value in change.get("json", {}).items():
        *outer, last = _steps(path)
        inner = document
        for step in outer:
            inner = inner[int(step)] if isinstance(inner, list) else inner.setdefault(step, {})
        inner[int(last) if isinstance(inner, list) else last] = value
    for path in change.get("without", []):
        *outer, last = _steps(path)
        inner = document
        for step in outer:
            inner = inner[int(step)] if isinstance(inner, list) else inner.get(step, {})
        if isinstance(inner, dict):
            inner.pop(last, None)
        elif int(last) < len(inner):
            del inner[int(last)]
    return json.dumps(document, separators=(",", ":")).encode()


def _steps(path: str) -> List[str]:
    """`a|b|0`: a bar, since names of claims and paths have dots and slashes."""
    return path.split("|")


def _substitute(pair: List[str], body: bytes) -> bytes:
    """`$NAME` is a variable of the broker's environment, `$COUNT` another number each time."""
    replacement = pair[1].replace("$COUNT", f"{os.getpid()}{next(_count):04}")
    return re.sub(pair[0].encode(), os.path.expandvars(replacement).encode(), body, flags=re.DOTALL)
