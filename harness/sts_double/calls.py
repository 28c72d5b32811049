"""The record of calls: what the broker sent, without what it must keep secret."""
from __future__ import annotations

import hashlib
import threading
import time
from typing import Dict, List, Mapping, Optional

from . import sigv4
from .limits import MAX_TAGS
from .web_identity import unverified_claims

# Their presence is recorded; their value is not.
_SECRET_HEADERS = {"authorization", "x-amz-security-token", "cookie"}


class Calls:
    def __init__(self) -> None:
        self._records: List[dict] = []
        self._lock = threading.Lock()

    def add(self, record: dict) -> None:
        with self._lock:
            self._records.append(record)

    def all(self) -> List[dict]:
        with self._lock:
            return [dict(record) for record in self._records]

    def clear(self) -> None:
        with self._lock:
            self._records.clear()


def describe(method: str, target: str, headers: sigv4.Headers, form: Mapping[str, str]) -> dict:
    token = form.get("WebIdentityToken")
    header, claims = unverified_claims(token) if token else ({}, {})
    names = {name.lower() for name, _ in headers}
    return {
        "at": time.time(),
        "method": method,
        "path": target,
        "operation": form.get("Action"),
        "version": form.get("Version"),
        "headers": {n.lower(): v for n, v in headers if n.lower() not in _SECRET_HEADERS},
        "has_authorization": "authorization" in names,
        "has_security_token": "x-amz-security-token" in names,
        "signed_by": _signer(headers),
        "role_arn": form.get("RoleArn"),
        "role_session_name": form.get("RoleSessionName"),
        "duration_seconds": form.get("DurationSeconds"),
        "policy": form.get("Policy"),
        "tags": _numbered_tags(form),
        "transitive_tag_keys": _numbered(form, "TransitiveTagKeys.member.{}"),
        "source_identity": form.get("SourceIdentity"),
        "jwt_header": header,
        "claims": claims,
        # Two JWTs are the same token only where this is the same.
        "jwt_sha256": hashlib.sha256(token.encode()).hexdigest() if token else None,
    }


def _signer(headers: sigv4.Headers) -> Optional[str]:
    try:
        return sigv4.parse(headers).access_key_id
    except Exception:
        return None


def _numbered(form: Mapping[str, str], template: str) -> List[str]:
    names = (template.format(number) for number in range(1, MAX_TAGS + 1))
    return [form[name] for name in names if name in form]


def _numbered_tags(form: Mapping[str, str]) -> Dict[str, str]:
    keys = _numbered(form, "Tags.member.{}.Key")
    return dict(zip(keys, _numbered(form, "Tags.member.{}.Value")))
