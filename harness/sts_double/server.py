"""The HTTP face: STS on `POST /`, the tests' controls on `/__…`.

GET    /__health            answers once it serves
GET    /__account           account id, role ARNs, bucket
POST   /__providers         register an OIDC provider {issuer, client_ids?, ca_file?, cache_seconds?, cooldown_seconds?}
POST   /__roles             {name, policy, max_session_seconds?, trust?}; policy may be "tag" or "whole_bucket"
POST   /__forget_keys       drop every cached JWKS
POST   /__fault             {kind, count?, operation?, seconds?}; without `operation` it strikes the mints
DELETE /__fault             clear all faults, let go of hanging calls
POST   /__short_life        {seconds}: credentials from now on live this long (null: as asked)
GET    /__calls             what was received; DELETE forgets it
POST   /__authorize         {access_key_id, action, resource, prefix?}: would S3 allow it?
"""
from __future__ import annotations

import json
import socket
import struct
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import List, Optional, Tuple
from urllib.parse import parse_qsl

from . import actions, answers, faults as faulty
from .account import Account, authorize, tag_policy, whole_bucket_policy
from .calls import Calls, describe
from .errors import StsError, validation
from .faults import Fault, Faults
from .providers import Provider

MAX_REQUEST_BYTES = 1 << 20


class Double:
    """All state of one double."""

    def __init__(self, account: Account, tolerance: int = 300) -> None:
        self.account = account
        self.tolerance = tolerance
        self.faults = Faults()
        self.calls = Calls()
        self.short_life: Optional[float] = None
        # STS calls being answered, those that hang or lag among them.
        self.in_flight = 0
        self._lock = threading.Lock()

    def enter(self) -> None:
        with self._lock:
            self.in_flight += 1

    def leave(self) -> None:
        with self._lock:
            self.in_flight -= 1

    def call(self, method: str, target: str, headers: list, body: bytes) -> "Outcome":
        """Judges one STS call; whatever it decides is recorded."""
        try:
            form = dict(parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=True))
        except ValueError:
            form = {}
        record = describe(method, target, headers, form)
        record["in_flight"] = self.in_flight
        fault = self.faults.take(form.get("Action", ""))
        request_id = str(uuid.uuid4())
        outcome = self._outcome(fault, form, method, target, headers, body, request_id)
        record.update(
            fault=fault.kind if fault else None, status=outcome.status, outcome=outcome.code, request_id=request_id
        )
        self.calls.add(record)
        return outcome

    def _outcome(
        self, fault: Optional[Fault], form: dict, method: str, target: str, headers: list, body: bytes, request_id: str
    ) -> "Outcome":
        kind = fault.kind if fault else None
        if kind in faulty.CANNED:
            status, content_type, text = faulty.canned(kind)
            return Outcome(status, content_type, text, kind)
        try:
            injected = fault.error() if fault else None
            if injected:
                raise injected
            xml = self._perform(form, method, target, headers, body, request_id)
        except StsError as error:
            return Outcome(error.status, "text/xml", error.xml(request_id), error.code, fault=fault)
        if kind in faulty.SPOILT:
            content_type, text = faulty.spoil(kind, xml)
            return Outcome(200, content_type, text, kind)
        return Outcome(200, "text/xml", xml, "ok", fault=fault)

    def _perform(self, form: dict, method: str, target: str, headers: list, body: bytes, request_id: str) -> str:
        if method != "POST":
            raise validation("Call STS by POST")
        operation = form.get("Action")
        if form.get("Version") != "2011-06-15":
            raise StsError("InvalidAction", f"Could not find operation {operation} for version {form.get('Version')}")
        if operation == "AssumeRoleWithWebIdentity":
            session, identity = actions.assume_role_with_web_identity(
                self.account, form, headers, self.tolerance, self.short_life
            )
            return answers.web_identity(self.account, session, identity, request_id)
        if operation not in ("AssumeRole", "GetCallerIdentity"):
            raise StsError("InvalidAction", f"Could not find operation {operation} for version 2011-06-15")
        key = actions.signed_caller(self.account, method, target, headers, body)
        if operation == "AssumeRole":
            session = actions.assume_role(self.account, form, key, self.short_life)
            return answers.assume_role(session, request_id)
        caller = self.account.session(key)
        user_id = caller.assumed_role_id if caller else self.account.user.user_id
        return answers.caller_identity(
            actions.caller_arn(self.account, key), user_id, self.account.id, request_id
        )

    def control(self, method: str, path: str, order: dict) -> dict:
        route = f"{method} {path}"
        if route == "GET /__health":
            return {"ok": True}
        if route == "GET /__account":
            return {"account": self.account.id, "roles": list(self.account.roles), "bucket": self.account.bucket}
        if route == "POST /__providers":
            self.account.add_provider(Provider(**order))
        elif route == "POST /__roles":
            return {"role_arn": self._set_role(order)}
        elif route == "POST /__forget_keys":
            for provider in self.account.providers.values():
                provider.forget_keys()
        elif route == "POST /__fault":
            self.faults.add(order)
        elif route == "DELETE /__fault":
            self.faults.clear()
        elif route == "POST /__short_life":
            self.short_life = order.get("seconds")
        elif route == "GET /__calls":
            return {"calls": self.calls.all()}
        elif route == "DELETE /__calls":
            self.calls.clear()
        elif route == "POST /__authorize":
            return authorize(
                self.account, order["access_key_id"], order["action"], order["resource"], order.get("prefix")
            )
        else:
            raise ValueError(f"no control {route}")
        return {"ok": True}

    def _set_role(self, order: dict) -> str:
        policy = order["policy"]
        if policy == "tag":
            policy = tag_policy(self.account.bucket)
        elif policy == "whole_bucket":
            policy = whole_bucket_policy(self.account.bucket)
        role = self.account.add_role(
            order["name"], policy, order.get("max_session_seconds", 3600), order.get("trust")
        )
        return role.arn


class Outcome:
    def __init__(
        self, status: int, content_type: str, body: str, code: str, fault: Optional[Fault] = None
    ) -> None:
        self.status = status
        self.content_type = content_type
        self.body = body.encode()
        self.code = code
        self.fault = fault


def serve(double: Double, port: int = 0, host: str = "127.0.0.1") -> ThreadingHTTPServer:
    """A bound server; the caller runs `serve_forever`."""

    class Handler(_Handler):
        pass

    Handler.double = double
    return _Server((host, port), Handler)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024

    def handle_error(self, *_args: object) -> None:
        """A client that went away is not news here."""


class _Handler(BaseHTTPRequestHandler):
    double: Double
    protocol_version = "HTTP/1.1"
    # One segment per answer, at once: a delayed ACK would add 40 ms to each call.
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._answer()

    do_POST = do_PUT = do_DELETE = do_GET

    def _answer(self) -> None:
        body = self._body()
        if body is None:
            return
        path = self.path.split("?", 1)[0]
        if path.startswith("/__"):
            self._control(path, body)
        elif path == "/":
            self.double.enter()
            try:
                self._sts(body)
            finally:
                self.double.leave()
        else:
            self._write(404, "text/plain", b"not here")

    def _body(self) -> Optional[bytes]:
        length = self.headers.get("Content-Length", "0")
        if not length.isdigit() or int(length) > MAX_REQUEST_BYTES:
            self.close_connection = True
            self._write(413, "text/plain", b"too large")
            return None
        return self.rfile.read(int(length))

    def _control(self, path: str, body: bytes) -> None:
        try:
            answer, status = self.double.control(self.command, path, json.loads(body or b"{}")), 200
        except (ValueError, KeyError, TypeError, StsError) as reason:
            answer, status = {"error": f"{type(reason).__name__}: {reason}"}, 400
        self._write(status, "application/json", json.dumps(answer).encode())

    def _sts(self, body: bytes) -> None:
        headers: List[Tuple[str, str]] = list(self.headers.items())
        outcome = self.double.call(self.command, self.path, headers, body)
        fault = outcome.fault
        if fault and fault.kind == "hang":
            self.double.faults.hold(fault.seconds)
            self.close_connection = True
            return
        if fault and fault.kind == "reset":
            self._reset()
            return
        if fault and fault.kind == "latency":
            self.double.faults.hold(fault.seconds)
        sent = outcome.body
        if fault and fault.kind == "truncated":
            sent = sent[: len(sent) // 2]
            self.close_connection = True
        self._write(outcome.status, outcome.content_type, sent, declared=len(outcome.body))

    def _reset(self) -> None:
        """RST instead of FIN: what a dropped connection looks like."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def _write(self, status: int, content_type: str, body: bytes, declared: Optional[int] = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body) if declared is None else declared))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, *_args: object) -> None:
        """Silent: the record of calls is the log."""
