"""Verifies AWS Signature Version 4 on a request, from nothing but its bytes.

Written from the specification over hmac, so that it shares no code with the
SDK whose signatures it judges.
"""
from __future__ import annotations

import hashlib
import hmac
import re
import time
from calendar import timegm
from dataclasses import dataclass
from typing import Callable, Dict, List, Optional, Tuple
from urllib.parse import parse_qsl, quote

from .errors import StsError

MAX_SKEW_SECONDS = 15 * 60

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[\w]+)/(?P<date>\d{8})/(?P<region>[a-z0-9-]+)/(?P<service>[a-z0-9]+)"
    r"/aws4_request,\s*SignedHeaders=(?P<signed>[a-z0-9;-]+),\s*Signature=(?P<signature>[0-9a-f]{64})"
)

Headers = List[Tuple[str, str]]


@dataclass
class Signature:
    access_key_id: str
    date: str
    region: str
    service: str
    signed_headers: List[str]
    value: str


def parse(headers: Headers) -> Signature:
    values = [value for name, value in headers if name.lower() == "authorization"]
    if not values:
        raise StsError("MissingAuthenticationToken", "Request is missing Authentication Token")
    match = _AUTHORIZATION.fullmatch(values[0]) if len(values) == 1 else None
    if not match:
        raise StsError("IncompleteSignature", "The Authorization header is not a Signature Version 4")
    return Signature(
        match["key"],
        match["date"],
        match["region"],
        match["service"],
        match["signed"].split(";"),
        match["signature"],
    )


def verify(
    method: str,
    target: str,
    headers: Headers,
    body: bytes,
    secret_of: Callable[[str], Optional[str]],
    now: Optional[float] = None,
) -> str:
    """The access key id that signed this request."""
    signature = parse(headers)
    if signature.service != "sts":
        raise mismatch(f"Credential should be scoped to correct service: 'sts', not '{signature.service}'.")
    stamp = _header(headers, "x-amz-date")
    _check_clock(signature, stamp, now)
    if "host" not in signature.signed_headers or "x-amz-date" not in signature.signed_headers:
        raise mismatch("'Host' and 'X-Amz-Date' must be among the signed headers.")
    unsigned = [n.lower() for n, _ in headers if n.lower().startswith("x-amz-")]
    if not set(unsigned) <= set(signature.signed_headers):
        raise mismatch("Every x-amz-* header must be signed.")
    secret = secret_of(signature.access_key_id)
    if secret is None:
        raise StsError("InvalidClientTokenId", "The security token included in the request is invalid.")
    request = canonical_request(method, target, headers, signature.signed_headers, body)
    if not hmac.compare_digest(sign(secret, stamp, signature, request), signature.value):
        raise mismatch(
            "The request signature we calculated does not match the signature you provided. "
            "Check your AWS Secret Access Key and signing method."
        )
    return signature.access_key_id


def canonical_request(method: str, target: str, headers: Headers, signed: List[str], body: bytes) -> str:
    path, _, query = target.partition("?")
    pairs = sorted((quote(k, safe="-_.~"), quote(v, safe="-_.~")) for k, v in parse_qsl(query, keep_blank_values=True))
    lines = [f"{name}:{_header(headers, name)}\n" for name in signed]
    return "\n".join(
        [
            method,
            quote(path or "/", safe="/-_.~%"),
            "&".join(f"{k}={v}" for k, v in pairs),
            "".join(lines),
            ";".join(signed),
            hashlib.sha256(body).hexdigest(),
        ]
    )


def sign(secret: str, stamp: str, signature: Signature, request: str) -> str:
    scope = f"{signature.date}/{signature.region}/{signature.service}/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(request.encode()).hexdigest()])
    key = ("AWS4" + secret).encode()
    for part in (signature.date, signature.region, signature.service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def mismatch(message: str) -> StsError:
    return StsError("SignatureDoesNotMatch", message)


def _check_clock(signature: Signature, stamp: str, now: Optional[float]) -> None:
    try:
        signed_at = timegm(time.strptime(stamp, "%Y%m%dT%H%M%SZ"))
    except ValueError:
        raise StsError("IncompleteSignature", "Date must be in ISO-8601 'basic format'") from None
    if stamp[:8] != signature.date:
        raise mismatch("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date")
    if abs((time.time() if now is None else now) - signed_at) > MAX_SKEW_SECONDS:
        raise mismatch(f"Signature expired: {stamp} is outside of the allowed {MAX_SKEW_SECONDS} s")


def _header(headers: Headers, name: str) -> str:
    grouped: Dict[str, List[str]] = {}
    for key, value in headers:
        grouped.setdefault(key.lower(), []).append(" ".join(value.split()))
    return ",".join(grouped.get(name, [""]))
