"""Verifies a web identity token and reads from it what AWS reads.

The algorithm is pinned, the key comes from the provider's JWKS alone, and a
claim of the wrong type is a refusal, never a skipped check.
"""
from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass, field
from typing import Dict, List, Mapping, Optional, Tuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from . import limits
from .errors import StsError
from .providers import Provider, base64url

TAGS_CLAIM = "https://aws.amazon.com/tags"
SOURCE_IDENTITY_CLAIM = "https://aws.amazon.com/source_identity"
ROLES_CLAIM = "https://aws.amazon.com/roles"

_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_SUBJECT = re.compile(r"[\x21-\x7e]{6,255}")


@dataclass
class Identity:
    """What a verified token says."""

    provider: Provider
    subject: str
    audience: str
    claims: dict
    tags: Dict[str, str] = field(default_factory=dict)
    transitive: List[str] = field(default_factory=list)
    source_identity: Optional[str] = None


def invalid(message: str) -> StsError:
    return StsError("InvalidIdentityToken", message)


def verify(token: str, providers: Mapping[str, Provider], role_arn: str, tolerance: int) -> Identity:
    header, claims, signature, signed = _parts(limits.web_identity_token(token))
    provider = _provider(claims, providers)
    _check_header(header)
    _check_signature(provider, header["kid"], signature, signed)
    _check_times(claims, tolerance)
    audience = _audience(claims, provider)
    subject = claims.get("sub")
    if not isinstance(subject, str) or not _SUBJECT.fullmatch(subject):
        raise invalid("The sub claim must be 6 to 255 printable ASCII characters")
    tags, transitive = _tags(claims.get(TAGS_CLAIM))
    identity = Identity(provider, subject, audience, claims, tags, transitive)
    if SOURCE_IDENTITY_CLAIM in claims:
        identity.source_identity = limits.source_identity(claims[SOURCE_IDENTITY_CLAIM])
    _check_roles_claim(claims.get(ROLES_CLAIM), role_arn)
    return identity


def unverified_claims(token: str) -> Tuple[dict, dict]:
    """Header and claims for the record of calls; empty where they cannot be read."""
    try:
        header, claims, _signature, _signed = _parts(token)
        return header, claims
    except StsError:
        return {}, {}


def _parts(token: str) -> Tuple[dict, dict, bytes, bytes]:
    pieces = token.split(".")
    if len(pieces) != 3:
        raise invalid("The token is not three parts")
    try:
        header = _object(base64url(pieces[0]))
        claims = _object(base64url(pieces[1]))
        signature = base64url(pieces[2])
    except ValueError:
        raise invalid("The token cannot be decoded") from None
    return header, claims, signature, f"{pieces[0]}.{pieces[1]}".encode()


def _object(raw: bytes) -> dict:
    document = json.loads(raw, object_pairs_hook=_without_duplicates)
    if not isinstance(document, dict):
        raise ValueError("not an object")
    return document


def _without_duplicates(pairs: List[Tuple[str, object]]) -> dict:
    """Two values for one claim: which one counts would depend on the reader."""
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise ValueError("a name appears twice")
    return dict(pairs)


def _provider(claims: dict, providers: Mapping[str, Provider]) -> Provider:
    issuer = claims.get("iss")
    provider = providers.get(issuer) if isinstance(issuer, str) else None
    if provider is None:
        raise invalid("No OpenIDConnect provider found in your account for the token's issuer")
    return provider


def _check_header(header: dict) -> None:
    if header.get("alg") != "ES256":
        raise invalid("The signature algorithm is not ES256")
    if header.get("typ") != "JWT":
        raise invalid("The token's typ is not JWT")
    if not isinstance(header.get("kid"), str) or not header["kid"]:
        raise invalid("The token names no key")
    for name in ("jku", "jwk", "x5u", "x5c", "crit"):
        if name in header:
            raise invalid(f"The token's header carries {name}")


def _check_signature(provider: Provider, kid: str, signature: bytes, signed: bytes) -> None:
    if len(signature) != 64:
        raise invalid("An ES256 signature is 64 bytes")
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    if not (0 < r < _P256_ORDER and 0 < s < _P256_ORDER):
        raise invalid("The signature is out of range")
    try:
        provider.key(kid).verify(encode_dss_signature(r, s), signed, ECDSA(SHA256()))
    except InvalidSignature:
        raise invalid("The token's signature is not valid") from None


def _check_times(claims: dict, tolerance: int) -> None:
    now = time.time()
    issued, expires = _integer(claims, "iat"), _integer(claims, "exp")
    not_before = _integer(claims, "nbf") if "nbf" in claims else issued
    if expires + tolerance <= now:
        raise StsError(
            "ExpiredTokenException",
            "Token expired: current date/time must be before the expiration date/time of the token",
        )
    if issued - tolerance > now or not_before - tolerance > now:
        raise invalid("The token is not valid yet")
    if expires <= issued:
        raise invalid("The token ends before it begins")


def _integer(claims: dict, name: str) -> int:
    value = claims.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise invalid(f"The {name} claim must be an integer")
    return value


def _audience(claims: dict, provider: Provider) -> str:
    audience = claims.get("aud")
    if not isinstance(audience, str) or "azp" in claims:
        raise invalid("The aud claim must be one string")
    if audience not in provider.client_ids:
        raise invalid("Incorrect token audience")
    return audience


def _tags(claim: object) -> Tuple[Dict[str, str], List[str]]:
    if claim is None:
        return {}, []
    if not isinstance(claim, dict) or not set(claim) <= {"principal_tags", "transitive_tag_keys"}:
        raise invalid("The tags claim holds principal_tags and transitive_tag_keys and nothing else")
    principal, transitive = claim.get("principal_tags", {}), claim.get("transitive_tag_keys", [])
    if not isinstance(principal, dict) or not isinstance(transitive, list):
        raise invalid("The tags claim is misshapen")
    pairs: Dict[str, str] = {}
    for key, values in principal.items():
        if not isinstance(values, list) or len(values) != 1 or not isinstance(values[0], str):
            raise invalid(f"The tag {key} must be an array of exactly one string")
        pairs[key] = values[0]
    if any(key not in pairs for key in transitive) or len(set(transitive)) != len(transitive):
        raise invalid("A transitive tag key is not among the principal tags, or named twice")
    return limits.tags(pairs), list(transitive)


def _check_roles_claim(claim: object, role_arn: str) -> None:
    if claim is None:
        return
    allowed = [claim] if isinstance(claim, str) else claim
    if not isinstance(allowed, list) or role_arn not in allowed:
        raise invalid("The target role ARN is not present in the roles claim")
