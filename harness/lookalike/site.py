"""A site that looks to a browser like OpenRouter's sign-up: form, code by mail, key page, API.

Its API accepts only keys that it issued. It records what it was asked, so that a
test can say what a person would have seen.
"""
from __future__ import annotations

import html
import json
import secrets
import threading
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Callable, Dict, List, Optional
from urllib.parse import parse_qs, urlsplit

from peers.ports import free_port

from .pages import ASK_CODE, KEYS, NEW_KEY, SIGN_UP, page

SendCode = Callable[[str, str], None]


@dataclass
class Account:
    email: str
    password: str
    code: str
    verified: bool = False
    keys: List[str] = field(default_factory=list)


class Lookalike:
    """`send_code(address, code)` is how the site mails."""

    def __init__(self, send_code: SendCode) -> None:
        self.send_code = send_code
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.accounts: Dict[str, Account] = {}
        self.sessions: Dict[str, str] = {}
        self.wrong_codes: List[str] = []
        self.user_agents: List[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> "Lookalike":
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def keys(self) -> List[str]:
        return [key for account in self.accounts.values() for key in account.keys]

    def sign_up(self, email: str, password: str) -> str:
        account = Account(email, password, code=f"{secrets.randbelow(900000) + 100000}")
        self.accounts[email.lower()] = account
        session = secrets.token_urlsafe(24)
        self.sessions[session] = email.lower()
        self.send_code(email, account.code)
        return session

    def account(self, session: Optional[str]) -> Optional[Account]:
        return self.accounts.get(self.sessions.get(session or "", ""))


def _handler(site: Lookalike) -> type:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_arguments: object) -> None:
            pass

        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            if path.startswith("/api/"):
                return self.api(path)
            site.user_agents.append(self.headers.get("User-Agent", ""))
            account = self.account()
            if path == "/sign-up":
                return self.html(200, SIGN_UP)
            if account is None:
                return self.redirect("/sign-up")
            if path == "/verify":
                return self.html(200, ASK_CODE)
            if path == f"/confirm/{account.code}":
                account.verified = True
                return self.redirect("/")
            if not account.verified:
                return self.redirect("/verify")
            if path in ("/", "/settings/keys"):
                listed = "".join(f"<li>{key[:12]}…</li>" for key in account.keys)
                return self.html(200, KEYS.replace("<!--keys-->", listed))
            self.html(404, page("Not found", "<p>There is nothing here.</p>"))

        def do_POST(self) -> None:
            form = self.form()
            path = urlsplit(self.path).path
            if path == "/sign-up":
                if not form.get("legalAccepted") or len(form.get("password", "")) < 12:
                    return self.html(400, SIGN_UP)
                session = site.sign_up(form["emailAddress"], form["password"])
                return self.redirect("/verify", f"session={session}; HttpOnly; SameSite=Lax; Path=/")
            account = self.account()
            if account is None:
                return self.redirect("/sign-up")
            if path == "/verify":
                if form.get("code") != account.code:
                    site.wrong_codes.append(form.get("code", ""))
                    return self.html(400, ASK_CODE)
                account.verified = True
                return self.redirect("/")
            if path == "/settings/keys" and account.verified:
                key = "sk-or-v1-" + secrets.token_hex(32)
                account.keys.append(key)
                return self.html(200, NEW_KEY.replace("<!--key-->", html.escape(key)))
            self.html(404, page("Not found", ""))

        def api(self, path: str) -> None:
            scheme, _, key = self.headers.get("Authorization", "").partition(" ")
            if scheme != "Bearer" or key not in site.keys():
                return self.json(401, {"error": {"code": 401, "message": "No auth credentials found"}})
            if path == "/api/v1/models":
                return self.json(200, {"data": [{"id": "lookalike/one", "name": "One"}]})
            if path == "/api/v1/key":
                return self.json(200, {"data": {"label": "agentkeys", "usage": 0}})
            self.json(404, {"error": {"code": 404}})

        def account(self) -> Optional[Account]:
            found = SimpleCookie(self.headers.get("Cookie", "")).get("session")
            return site.account(found.value if found else None)

        def form(self) -> Dict[str, str]:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode()
            return {name: values[0] for name, values in parse_qs(body).items()}

        def json(self, status: int, document: dict) -> None:
            self.answer(status, "application/json", json.dumps(document).encode())

        def html(self, status: int, text: str) -> None:
            self.answer(status, "text/html; charset=utf-8", text.encode())

        def redirect(self, to: str, cookie: Optional[str] = None) -> None:
            self.answer(303, "text/plain", b"", {"Location": to, **({"Set-Cookie": cookie} if cookie else {})})

        def answer(self, status: int, kind: str, body: bytes, headers: Optional[Dict[str, str]] = None) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    return Handler
