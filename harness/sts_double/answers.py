"""The XML of a success, in the shape of the query protocol."""
from __future__ import annotations

import time
from typing import Optional
from xml.sax.saxutils import escape

from .account import Account, Session
from .errors import NAMESPACE
from .web_identity import Identity


def web_identity(account: Account, session: Session, identity: Identity, request_id: str) -> str:
    return _answer(
        "AssumeRoleWithWebIdentity",
        f"    <SubjectFromWebIdentityToken>{escape(identity.subject)}</SubjectFromWebIdentityToken>\n"
        f"    <Audience>{escape(identity.audience)}</Audience>\n"
        f"{_assumed(session)}{_credentials(session)}"
        f"    <Provider>{account.provider_arn(identity.provider)}</Provider>\n"
        f"{_source_identity(session)}"
        "    <PackedPolicySize>7</PackedPolicySize>\n",
        request_id,
    )


def assume_role(session: Session, request_id: str) -> str:
    return _answer(
        "AssumeRole",
        f"{_assumed(session)}{_credentials(session)}{_source_identity(session)}"
        "    <PackedPolicySize>7</PackedPolicySize>\n",
        request_id,
    )


def caller_identity(arn: str, user_id: str, account_id: str, request_id: str) -> str:
    return _answer(
        "GetCallerIdentity",
        f"    <Arn>{arn}</Arn>\n    <UserId>{user_id}</UserId>\n    <Account>{account_id}</Account>\n",
        request_id,
    )


def timestamp(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _answer(operation: str, result: str, request_id: str) -> str:
    return (
        f'<{operation}Response xmlns="{NAMESPACE}">\n  <{operation}Result>\n{result}  </{operation}Result>\n'
        f"  <ResponseMetadata>\n    <RequestId>{request_id}</RequestId>\n  </ResponseMetadata>\n"
        f"</{operation}Response>\n"
    )


def _assumed(session: Session) -> str:
    return (
        f"    <AssumedRoleUser>\n      <Arn>{session.arn}</Arn>\n"
        f"      <AssumedRoleId>{session.assumed_role_id}</AssumedRoleId>\n    </AssumedRoleUser>\n"
    )


def _credentials(session: Session) -> str:
    return (
        f"    <Credentials>\n      <AccessKeyId>{session.access_key_id}</AccessKeyId>\n"
        f"      <SecretAccessKey>{session.secret_access_key}</SecretAccessKey>\n"
        f"      <SessionToken>{session.session_token}</SessionToken>\n"
        f"      <Expiration>{timestamp(session.expires_at)}</Expiration>\n    </Credentials>\n"
    )


def _source_identity(session: Session) -> str:
    value: Optional[str] = session.source_identity
    return f"    <SourceIdentity>{escape(value)}</SourceIdentity>\n" if value else ""
