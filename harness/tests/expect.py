"""Assertions that many tests share, each said once."""
from __future__ import annotations

import re
import secrets
from datetime import datetime, timezone
from typing import Iterable, Mapping

from http_client import Answer

ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")
WALLET = re.compile(r"0x[0-9a-f]{40}")
TOKEN = re.compile(r"aks_[0-9A-Za-z]{49}")
RFC3339_UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")

MINT_FIELDS = {
    "access_key_id",
    "secret_access_key",
    "session_token",
    "expiration",
    "wallet",
    "role_arn",
    "region",
    "environment",
    "mint_id",
}


def new_wallet() -> str:
    return "0x" + secrets.token_hex(20)


def instant(text: str) -> float:
    """The Unix time of an RFC 3339 UTC time."""
    assert RFC3339_UTC.fullmatch(text), f"not RFC 3339 UTC: {text}"
    return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(timezone.utc).timestamp()


def no_credential(answer: Answer) -> None:
    """Nothing in this answer opens anything."""
    assert answer.status != 200, answer
    for mark in ("ASIA", "AKIA", "secret_access_key", "session_token", "SecretAccessKey", "eyJ"):
        assert mark not in answer.text, f"{mark} in {answer}"


def refused(answer: Answer, status: int, code: str) -> dict:
    assert answer.status == status, answer
    problem = answer.problem()
    assert problem["code"] == code, problem
    no_credential(answer)
    return problem


def unavailable(answer: Answer, *codes: str) -> dict:
    """503 that tells the client to come back, and when."""
    assert answer.status == 503, answer
    problem = answer.problem()
    assert problem["code"] in codes, problem
    assert problem["retryable"] is True
    assert int(answer.header("retry-after") or "0") >= 1, answer.headers
    no_credential(answer)
    return problem


def mint_is_whole(minted: Mapping[str, object], wallet: str, role_arn: str) -> None:
    assert MINT_FIELDS <= set(minted), sorted(minted)
    assert minted["wallet"] == wallet
    assert minted["role_arn"] == role_arn
    assert ULID.fullmatch(str(minted["mint_id"]))
    for name in ("access_key_id", "secret_access_key", "session_token", "region"):
        assert minted[name], f"{name} is empty"


def each_once(values: Iterable[object]) -> bool:
    listed = list(values)
    return len(set(listed)) == len(listed)
