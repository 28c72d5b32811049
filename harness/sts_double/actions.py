"""The STS operations: what a call must satisfy, and the session that it gets."""
from __future__ import annotations

import time
from typing import Dict, List, Mapping, Optional, Tuple

from . import limits, policy as iam, sigv4, web_identity
from .account import Account, Role, Session, tag_context
from .errors import StsError, validation

Form = Mapping[str, str]


def assume_role_with_web_identity(
    account: Account, form: Form, headers: sigv4.Headers, tolerance: int, life: Optional[float]
) -> Tuple[Session, web_identity.Identity]:
    _refuse_credentials(headers)
    arn = limits.role_arn(limits.required(form, "RoleArn"))
    name = limits.role_session_name(limits.required(form, "RoleSessionName"))
    token = limits.required(form, "WebIdentityToken")
    if any(key.startswith("Tags.") for key in form):
        raise validation("AssumeRoleWithWebIdentity has no Tags: they come in the token")
    document = _session_policy(form)
    identity = web_identity.verify(token, account.providers, arn, tolerance)
    provider = identity.provider
    context = tag_context(identity.tags)
    context[f"{provider.name}:aud"] = [identity.audience]
    context[f"{provider.name}:sub"] = [identity.subject]
    context["sts:RoleSessionName"] = [name]
    role = _trusted_role(
        account,
        arn,
        ("Federated", account.provider_arn(provider)),
        _actions("sts:AssumeRoleWithWebIdentity", identity.tags, identity.source_identity),
        context,
        "Not authorized to perform sts:AssumeRoleWithWebIdentity",
    )
    seconds = limits.duration(form.get("DurationSeconds"), role.max_session_seconds)
    session = account.issue(
        role,
        name,
        seconds if life is None else life,
        tags=identity.tags,
        transitive=identity.transitive,
        policy=document,
        source_identity=identity.source_identity,
    )
    return session, identity


def assume_role(account: Account, form: Form, caller_key: str, life: Optional[float]) -> Session:
    arn = limits.role_arn(limits.required(form, "RoleArn"))
    name = limits.role_session_name(limits.required(form, "RoleSessionName"))
    document = _session_policy(form)
    tags, transitive = _tags(form)
    source_identity = form.get("SourceIdentity")
    if source_identity is not None:
        limits.source_identity(source_identity)
    caller = caller_arn(account, caller_key)
    context = tag_context(tags)
    context["sts:RoleSessionName"] = [name]
    role = _trusted_role(
        account,
        arn,
        ("AWS", caller),
        _actions("sts:AssumeRole", tags, source_identity),
        context,
        f"User: {caller} is not authorized to perform: sts:AssumeRole on resource: {arn}",
    )
    seconds = limits.duration(form.get("DurationSeconds"), role.max_session_seconds)
    return account.issue(
        role,
        name,
        seconds if life is None else life,
        tags=tags,
        transitive=transitive,
        policy=document,
        source_identity=source_identity,
    )


def caller_arn(account: Account, access_key_id: str) -> str:
    session = account.session(access_key_id)
    return session.arn if session else account.user.arn


def signed_caller(
    account: Account, method: str, target: str, headers: sigv4.Headers, body: bytes
) -> str:
    """The key that signed this request; for a session's key its token must come along."""
    key = sigv4.verify(method, target, headers, body, account.secret_of)
    session = account.session(key)
    token = next((v for n, v in headers if n.lower() == "x-amz-security-token"), None)
    if (session.session_token if session else None) != token:
        raise StsError("InvalidClientTokenId", "The security token included in the request is invalid")
    if session and session.expires_at <= time.time():
        raise StsError("ExpiredToken", "The security token included in the request is expired")
    return key


def _refuse_credentials(headers: sigv4.Headers) -> None:
    """An unsigned operation that carries credentials has leaked them to no purpose."""
    for name, _ in headers:
        if name.lower() in ("authorization", "x-amz-security-token"):
            raise StsError("InvalidClientTokenId", f"AssumeRoleWithWebIdentity is unsigned, but {name} was sent")


def _session_policy(form: Form) -> Optional[dict]:
    document = limits.policy(form.get("Policy"))
    if document is not None:
        iam.check_session_policy(document)
    return document


def _actions(first: str, tags: Mapping[str, str], source_identity: Optional[str]) -> List[str]:
    needed = [first]
    if tags:
        needed.append("sts:TagSession")
    if source_identity:
        needed.append("sts:SetSourceIdentity")
    return needed


def _trusted_role(
    account: Account,
    arn: str,
    principal: Tuple[str, str],
    actions: List[str],
    context: Dict[str, List[str]],
    refusal: str,
) -> Role:
    """An unknown role and an untrusting one are told alike, as AWS does."""
    role = account.roles.get(arn)
    kind, name = principal
    if role is None or not all(account.trusts(role, kind, name, action, context) for action in actions):
        raise StsError("AccessDenied", refusal)
    return role


def _tags(form: Form) -> Tuple[Dict[str, str], List[str]]:
    pairs: Dict[str, str] = {}
    for number in range(1, limits.MAX_TAGS + 2):
        key = form.get(f"Tags.member.{number}.Key")
        if key is None:
            break
        if key in pairs:
            raise validation("Duplicate tag keys found")
        pairs[key] = form.get(f"Tags.member.{number}.Value", "")
    transitive = []
    for number in range(1, limits.MAX_TAGS + 2):
        key = form.get(f"TransitiveTagKeys.member.{number}")
        if key is None:
            break
        if key not in pairs:
            raise validation(f"The transitive tag key {key} is not among the tags")
        transitive.append(key)
    return limits.tags(pairs), transitive
