"""Faults on demand: what is to go wrong, for which operation and how often.

Three kinds of fault differ in where they strike: before the call is judged
(errors, silence), on its way out (answers that lie), and on the wire.
"""
from __future__ import annotations

import json
import re
import threading
import time
from dataclasses import dataclass
from typing import List, Optional

from .errors import STATUS, StsError

MINTS = ("AssumeRole", "AssumeRoleWithWebIdentity")

# kind → the error that STS answers with.
ERRORS = {
    "throttling": ("Throttling", "Rate exceeded"),
    "verification_key": (
        "InvalidIdentityToken",
        "Couldn't retrieve verification key from your identity provider, please reference "
        "AssumeRoleWithWebIdentity documentation for requirements",
    ),
    "invalid_identity_token": ("InvalidIdentityToken", "Incorrect token audience"),
    "idp_communication": ("IDPCommunicationError", "The identity provider could not be reached"),
    "idp_rejected_claim": ("IDPRejectedClaim", "The identity provider rejected the claim"),
    "expired_token": (
        "ExpiredTokenException",
        "Token expired: current date/time must be before the expiration date/time of the token",
    ),
    "access_denied": ("AccessDenied", "Not authorized to perform sts:AssumeRole"),
    "malformed_policy": ("MalformedPolicyDocument", "Syntax errors in policy."),
    "packed_policy": ("PackedPolicyTooLarge", "The packed policy consumes 104% of the allotted space"),
    "region_disabled": ("RegionDisabledException", "STS is not activated in this region for this account"),
    "validation_error": ("ValidationError", "1 validation error detected"),
    "invalid_client_token": ("InvalidClientTokenId", "The security token included in the request is invalid."),
    "signature_mismatch": ("SignatureDoesNotMatch", "The request signature does not match"),
    "http_500": ("InternalFailure", "The request processing has failed because of an unknown error"),
    "http_503": ("ServiceUnavailable", "The service is unavailable"),
}
# Answered without judging the call, by something that is not STS.
CANNED = ("http_502", "html_200", "oversize")
# The call is judged and granted; its answer is then spoilt.
SPOILT = ("no_credentials", "empty_credentials", "other_account", "json", "expired_credentials")
WIRE = ("latency", "hang", "truncated", "reset")
KINDS = (*ERRORS, *CANNED, *SPOILT, *WIRE)

OVERSIZE_BYTES = 32 << 20
OTHER_ACCOUNT = "999999999999"


@dataclass
class Fault:
    kind: str
    # None: until cleared.
    remaining: Optional[int]
    operations: tuple
    seconds: float = 1.0

    def error(self) -> Optional[StsError]:
        known = ERRORS.get(self.kind)
        return StsError(*known) if known else None


class Faults:
    """A queue: the first fault that fits a call is used up by it."""

    def __init__(self) -> None:
        self._queue: List[Fault] = []
        self._lock = threading.Lock()
        self._released = threading.Event()

    def add(self, order: dict) -> Fault:
        kind = order.get("kind")
        if kind not in KINDS:
            raise ValueError(f"unknown fault {kind!r}; known are {', '.join(KINDS)}")
        operation = order.get("operation")
        fault = Fault(
            kind,
            order.get("count"),
            MINTS if operation is None else (operation,),
            float(order.get("seconds", 1.0)),
        )
        with self._lock:
            self._released.clear()
            self._queue.append(fault)
        return fault

    def clear(self) -> None:
        """Also lets go of every call that hangs."""
        with self._lock:
            self._queue.clear()
            self._released.set()

    def take(self, operation: str) -> Optional[Fault]:
        with self._lock:
            for fault in self._queue:
                if operation not in fault.operations and "*" not in fault.operations:
                    continue
                if fault.remaining is not None:
                    fault.remaining -= 1
                    if fault.remaining <= 0:
                        self._queue.remove(fault)
                return fault
        return None

    def hold(self, seconds: float) -> None:
        self._released.wait(seconds)


def canned(kind: str) -> tuple:
    """status, content type, body"""
    if kind == "http_502":
        return 502, "text/html", "<html><body><h1>502 Bad Gateway</h1></body></html>"
    if kind == "html_200":
        return 200, "text/html", "<html><body>Please sign in to this network</body></html>"
    padding = "<!-- padding -->" * (OVERSIZE_BYTES // 16)
    return 200, "text/xml", f"<AssumeRoleResponse>{padding}</AssumeRoleResponse>"


def spoil(kind: str, xml: str) -> tuple:
    """content type and body of a granted answer, made untrustworthy"""
    if kind == "no_credentials":
        return "text/xml", re.sub(r"<Credentials>.*</Credentials>", "", xml, flags=re.DOTALL)
    if kind == "empty_credentials":
        return "text/xml", re.sub(r"<(AccessKeyId|SecretAccessKey|SessionToken)>[^<]*<", r"<\1><", xml)
    if kind == "other_account":
        return "text/xml", re.sub(r"(<Arn>arn:aws:sts::)\d{12}", rf"\g<1>{OTHER_ACCOUNT}", xml)
    if kind == "expired_credentials":
        past = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 3600))
        return "text/xml", re.sub(r"<Expiration>[^<]*<", f"<Expiration>{past}<", xml)
    fields = dict(re.findall(r"<(\w+)>([^<]+)</", xml))
    return "application/json", json.dumps({"Credentials": fields})


assert all(code in STATUS for code, _ in ERRORS.values())
