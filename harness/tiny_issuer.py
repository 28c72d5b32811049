"""A minimal OpenID Connect issuer in this process: keys, discovery, JWKS, tokens.

For tests of the strict STS double, which must be judged without the broker. It
can lie in every way that an issuer can.
"""
from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Callable, Dict, List, Optional

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

WALLET = "0x" + "a1" * 20


class SigningKey:
    def __init__(self) -> None:
        self.private = ec.generate_private_key(ec.SECP256R1())
        numbers = self.private.public_key().public_numbers()
        self.x = encode(numbers.x.to_bytes(32, "big"))
        self.y = encode(numbers.y.to_bytes(32, "big"))
        self.kid = thumbprint({"crv": "P-256", "kty": "EC", "x": self.x, "y": self.y})

    @property
    def jwk(self) -> Dict[str, str]:
        return {
            "kty": "EC",
            "crv": "P-256",
            "x": self.x,
            "y": self.y,
            "kid": self.kid,
            "alg": "ES256",
            "use": "sig",
        }

    def signature(self, message: bytes) -> bytes:
        r, s = decode_dss_signature(self.private.sign(message, ec.ECDSA(SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")


class TinyIssuer:
    """Serves until the `with` block ends. Change `discovery` or `jwks` to make it lie."""

    def __init__(self) -> None:
        self.key = SigningKey()
        self.jwks: Any = {"keys": [self.key.jwk]}
        self.discovery: Optional[dict] = None
        self.requests: List[str] = []
        self.before_answer: Callable[[], None] = lambda: None
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> "TinyIssuer":
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def claims(self, **changes: Any) -> dict:
        """The broker's claims; a change to None takes the claim away."""
        now = int(time.time())
        claims = {
            "iss": self.url,
            "sub": f"agentkeys:agent:{WALLET}",
            "aud": "sts.amazonaws.com",
            "iat": now,
            "nbf": now,
            "exp": now + 300,
            "jti": "01TEST",
            "agentkeys_user_wallet": WALLET,
            "https://aws.amazon.com/tags": {
                "principal_tags": {"agentkeys_user_wallet": [WALLET]},
                "transitive_tag_keys": ["agentkeys_user_wallet"],
            },
        }
        claims.update(changes)
        return {name: value for name, value in claims.items() if value is not None}

    def token(
        self,
        header: Optional[dict] = None,
        key: Optional[SigningKey] = None,
        signature: Optional[bytes] = None,
        payload: Optional[bytes] = None,
        **changes: Any,
    ) -> str:
        signer = key or self.key
        head = {"alg": "ES256", "kid": self.key.kid, "typ": "JWT", **(header or {})}
        head = {name: value for name, value in head.items() if value is not None}
        body = payload if payload is not None else json.dumps(self.claims(**changes)).encode()
        signed = f"{encode(json.dumps(head).encode())}.{encode(body)}"
        raw = signature if signature is not None else signer.signature(signed.encode())
        return f"{signed}.{encode(raw)}"

    def well_known(self) -> dict:
        """The truthful discovery document."""
        return {
            "issuer": self.url,
            "jwks_uri": f"{self.url}/jwks",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        }

    def _document(self, path: str) -> Optional[Any]:
        if path == "/.well-known/openid-configuration":
            return self.discovery or self.well_known()
        return self.jwks if path == "/jwks" else None

    def _handler(self) -> type:
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.requests.append(self.path)
                issuer.before_answer()
                document = issuer._document(self.path)
                body = json.dumps(document).encode()
                self.send_response(404 if document is None else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_args: object) -> None:
                """Silent."""

        return Handler


def encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def thumbprint(jwk: Dict[str, str]) -> str:
    """RFC 7638: the required members, sorted, without white space."""
    members = {name: jwk[name] for name in ("crv", "kty", "x", "y")}
    canonical = json.dumps(members, separators=(",", ":"), sort_keys=True)
    return encode(hashlib.sha256(canonical.encode()).digest())
