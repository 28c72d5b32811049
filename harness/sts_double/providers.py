"""IAM OIDC providers: discovery and JWKS fetched over the network, as AWS does.

Keys are cached; an unknown `kid` causes one refetch per cool-down, so that a
stream of forged kids cannot turn into a stream of requests to the issuer.
"""
from __future__ import annotations

import base64
import json
import ssl
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from typing import Dict, Optional, Sequence

from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePublicKey,
    EllipticCurvePublicNumbers,
)

from .errors import StsError

FETCH_TIMEOUT_SECONDS = 5
MAX_DOCUMENT_BYTES = 1 << 20
MAX_EC_KEYS = 100


class Unretrievable(Exception):
    """The issuer did not answer, or not as OpenID Connect demands."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_args: object, **_kwargs: object) -> None:
        return None


@dataclass
class Provider:
    issuer: str
    client_ids: Sequence[str] = ("sts.amazonaws.com",)
    ca_file: Optional[str] = None
    cache_seconds: float = 300
    cooldown_seconds: float = 5
    fetches: int = 0
    _keys: Dict[str, EllipticCurvePublicKey] = field(default_factory=dict)
    _fetched_at: Optional[float] = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        url = urllib.parse.urlsplit(self.issuer)
        if url.scheme not in ("https", "http") or not url.netloc or url.query or url.fragment:
            raise ValueError(f"not an issuer URL: {self.issuer}")
        if self.issuer.endswith("/"):
            raise ValueError("an issuer with a trailing slash is another issuer; register it without")

    @property
    def name(self) -> str:
        """What condition keys are prefixed with: the URL without its scheme."""
        return self.issuer.split("://", 1)[1]

    def key(self, kid: str) -> EllipticCurvePublicKey:
        with self._lock:
            now = time.monotonic()
            age = None if self._fetched_at is None else now - self._fetched_at
            stale = age is None or age > self.cache_seconds
            unknown_and_cool = kid not in self._keys and age is not None and age > self.cooldown_seconds
            if stale or unknown_and_cool:
                self._refetch()
            found = self._keys.get(kid)
        if found is None:
            raise StsError("InvalidIdentityToken", "No key of the identity provider has the token's kid")
        return found

    def forget_keys(self) -> None:
        with self._lock:
            self._keys, self._fetched_at = {}, None

    def _refetch(self) -> None:
        self.fetches += 1
        try:
            self._keys = self._fetch()
        except Unretrievable as reason:
            raise StsError(
                "InvalidIdentityToken",
                "Couldn't retrieve verification key from your identity provider, please reference "
                f"AssumeRoleWithWebIdentity documentation for requirements ({reason})",
            ) from None
        self._fetched_at = time.monotonic()

    def _fetch(self) -> Dict[str, EllipticCurvePublicKey]:
        discovery = self._get(f"{self.issuer}/.well-known/openid-configuration")
        if discovery.get("issuer") != self.issuer:
            raise Unretrievable("the discovery document names another issuer")
        for name in ("jwks_uri", "response_types_supported", "subject_types_supported"):
            if not discovery.get(name):
                raise Unretrievable(f"the discovery document lacks {name}")
        if "ES256" not in discovery.get("id_token_signing_alg_values_supported", []):
            raise Unretrievable("the discovery document does not offer ES256")
        keys = self._get(str(discovery["jwks_uri"])).get("keys")
        if not isinstance(keys, list) or not 1 <= len(keys) <= MAX_EC_KEYS:
            raise Unretrievable(f"a JWKS holds 1 to {MAX_EC_KEYS} keys")
        return {str(jwk.get("kid")): public_key(jwk) for jwk in keys}

    def _get(self, url: str) -> dict:
        context = ssl.create_default_context(cafile=self.ca_file) if url.startswith("https:") else None
        handlers = [_NoRedirects(), urllib.request.ProxyHandler({})]
        if context:
            handlers.append(urllib.request.HTTPSHandler(context=context))
        try:
            with urllib.request.build_opener(*handlers).open(url, timeout=FETCH_TIMEOUT_SECONDS) as answer:
                if answer.status != 200:
                    raise Unretrievable(f"status {answer.status}")
                raw = answer.read(MAX_DOCUMENT_BYTES + 1)
        except (OSError, ValueError) as reason:
            raise Unretrievable(type(reason).__name__) from None
        if len(raw) > MAX_DOCUMENT_BYTES:
            raise Unretrievable("the document is too large")
        try:
            document = json.loads(raw)
        except ValueError:
            raise Unretrievable("the document is not JSON") from None
        if not isinstance(document, dict):
            raise Unretrievable("the document is not an object")
        return document


def public_key(jwk: object) -> EllipticCurvePublicKey:
    """A P-256 public key from exactly the JWK that RFC 7518 section 6.2.1 describes."""
    if not isinstance(jwk, dict):
        raise Unretrievable("a key is not an object")
    expected = {"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig"}
    for name, value in expected.items():
        if jwk.get(name) != value:
            raise Unretrievable(f"a key whose {name} is not {value}")
    if "d" in jwk:
        raise Unretrievable("a PRIVATE key is published")
    if not isinstance(jwk.get("kid"), str) or not jwk["kid"]:
        raise Unretrievable("a key without kid")
    try:
        numbers = EllipticCurvePublicNumbers(_coordinate(jwk["x"]), _coordinate(jwk["y"]), SECP256R1())
        return numbers.public_key()
    except (KeyError, ValueError):
        raise Unretrievable("a key that is not a point of P-256") from None


def _coordinate(text: str) -> int:
    raw = base64url(text)
    if len(raw) != 32:
        raise ValueError("a P-256 coordinate is 32 bytes, left-padded")
    return int.from_bytes(raw, "big")


def base64url(text: str) -> bytes:
    """Unpadded base64url, refusing what is not canonical."""
    if not isinstance(text, str) or not text.isascii() or "=" in text or "+" in text or "/" in text:
        raise ValueError("not unpadded base64url")
    raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if base64.urlsafe_b64encode(raw).rstrip(b"=").decode() != text:
        raise ValueError("not canonical base64url")
    return raw
