"""The request limits of the AWS service model, as far as the broker can meet them.

A value over a limit is refused with ValidationError, never cut: a test that
sends one must see what AWS would have done.
"""
from __future__ import annotations

import json
import re
import unicodedata
from typing import Mapping, Optional

from .errors import StsError, validation

_SESSION_NAME = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)
_SOURCE_IDENTITY = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)
_ROLE_ARN = re.compile(r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[\w+=,.@/-]{1,512}", re.ASCII)
_POLICY_CHARACTERS = re.compile("[\\t\\n\\r\\x20-\\xff]*")
_TAG_PUNCTUATION = set("_.:/=+-@")

MIN_DURATION = 900
MAX_DURATION = 43200
DEFAULT_DURATION = 3600
MAX_POLICY = 2048
MAX_TAGS = 50


def required(form: Mapping[str, str], name: str) -> str:
    value = form.get(name)
    if not value:
        raise validation(f"1 validation error detected: Value null at '{_camel(name)}' failed to satisfy constraint: Member must not be null")
    return value


def role_arn(value: str) -> str:
    if not 20 <= len(value) <= 2048 or not _ROLE_ARN.fullmatch(value):
        raise validation(f"{value} is invalid")
    return value


def role_session_name(value: str) -> str:
    if not _SESSION_NAME.fullmatch(value):
        raise validation(
            f"1 validation error detected: Value '{value}' at 'roleSessionName' failed to satisfy "
            "constraint: Member must satisfy regular expression pattern: [\\w+=,.@-]* of length 2 to 64"
        )
    return value


def duration(value: Optional[str], role_maximum: int) -> int:
    if value is None:
        return min(DEFAULT_DURATION, role_maximum)
    if not re.fullmatch(r"[0-9]{1,6}", value):
        raise validation(f"Value '{value}' at 'durationSeconds' is not an integer")
    seconds = int(value)
    if not MIN_DURATION <= seconds <= MAX_DURATION:
        raise validation(
            f"1 validation error detected: Value '{seconds}' at 'durationSeconds' failed to satisfy "
            f"constraint: Member must have value between {MIN_DURATION} and {MAX_DURATION}"
        )
    if seconds > role_maximum:
        raise validation("The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
    return seconds


def policy(value: Optional[str]) -> Optional[dict]:
    """The session policy as a document, or None where the call carries none."""
    if value is None:
        return None
    if not _POLICY_CHARACTERS.fullmatch(value):
        raise validation("Value at 'policy' has characters outside the allowed set")
    if len(value) > MAX_POLICY:
        raise validation(
            "1 validation error detected: Value at 'policy' failed to satisfy constraint: "
            f"Member must have length less than or equal to {MAX_POLICY}"
        )
    try:
        document = json.loads(value)
    except ValueError:
        raise StsError("MalformedPolicyDocument", "Syntax errors in policy.") from None
    if not isinstance(document, dict) or document.get("Version") != "2012-10-17":
        raise StsError("MalformedPolicyDocument", "The policy must be an object of Version 2012-10-17.")
    return document


def web_identity_token(value: str) -> str:
    if not 4 <= len(value) <= 20000:
        raise validation("Value at 'webIdentityToken' must have length between 4 and 20000")
    return value


def source_identity(value: object) -> str:
    if not isinstance(value, str) or not _SOURCE_IDENTITY.fullmatch(value):
        raise validation("A source identity is 2 to 64 of [\\w+=,.@-]")
    return value


def tags(pairs: Mapping[str, str]) -> dict:
    if len(pairs) > MAX_TAGS:
        raise validation(f"At most {MAX_TAGS} session tags")
    folded = [key.lower() for key in pairs]
    if len(set(folded)) != len(folded):
        raise StsError("InvalidIdentityToken", "Duplicate tag keys: keys are case-insensitive")
    for key, value in pairs.items():
        if not 1 <= len(key) <= 128 or not _tag_characters(key) or key.lower().startswith("aws:"):
            raise validation(f"'{key}' is not a tag key")
        if len(value) > 256 or not _tag_characters(value):
            raise validation(f"The value of tag '{key}' is not a tag value")
    return dict(pairs)


def _tag_characters(text: str) -> bool:
    return all(c in _TAG_PUNCTUATION or unicodedata.category(c)[0] in "LZN" for c in text)


def _camel(name: str) -> str:
    return name[0].lower() + name[1:]
