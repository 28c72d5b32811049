"""The AWS account behind the double: a user, roles, OIDC providers, issued sessions."""
from __future__ import annotations

import secrets
import threading
import time
from dataclasses import dataclass, field
from typing import Dict, List, Mapping, Optional

from . import policy as iam
from .errors import StsError
from .providers import Provider

TAG = "agentkeys_user_wallet"


@dataclass
class User:
    arn: str
    user_id: str
    access_key_id: str
    secret_access_key: str


@dataclass
class Role:
    arn: str
    role_id: str
    policy: dict
    max_session_seconds: int = 3600
    # None: the trust policy of the operator runbook, made for whatever is registered.
    trust: Optional[dict] = None

    @property
    def name(self) -> str:
        return self.arn.rsplit("/", 1)[1]


@dataclass
class Session:
    access_key_id: str
    secret_access_key: str
    session_token: str
    expires_at: float
    role: Role
    name: str
    account_id: str
    tags: Dict[str, str] = field(default_factory=dict)
    transitive: List[str] = field(default_factory=list)
    policy: Optional[dict] = None
    source_identity: Optional[str] = None

    @property
    def arn(self) -> str:
        return f"arn:aws:sts::{self.account_id}:assumed-role/{self.role.name}/{self.name}"

    @property
    def assumed_role_id(self) -> str:
        return f"{self.role.role_id}:{self.name}"


class Account:
    def __init__(self, account_id: str, bucket: str, access_key_id: str, secret_access_key: str) -> None:
        self.id = account_id
        self.bucket = bucket
        self.user = User(
            f"arn:aws:iam::{account_id}:user/agentkeys-daemon", _id("AIDA"), access_key_id, secret_access_key
        )
        self.providers: Dict[str, Provider] = {}
        self.roles: Dict[str, Role] = {}
        self._sessions: Dict[str, Session] = {}
        self._lock = threading.Lock()

    def add_provider(self, provider: Provider) -> None:
        self.providers[provider.issuer] = provider

    def add_role(
        self, name: str, policy: dict, max_session_seconds: int = 3600, trust: Optional[dict] = None
    ) -> Role:
        arn = f"arn:aws:iam::{self.id}:role/{name}"
        self.roles[arn] = Role(arn, _id("AROA"), policy, max_session_seconds, trust)
        return self.roles[arn]

    def provider_arn(self, provider: Provider) -> str:
        return f"arn:aws:iam::{self.id}:oidc-provider/{provider.name}"

    def trust_policy(self, role: Role) -> dict:
        if role.trust is not None:
            return role.trust
        tagged = {"Null": {f"aws:RequestTag/{TAG}": "false"}}
        statements = [
            {
                "Effect": "Allow",
                "Principal": {"Federated": self.provider_arn(provider)},
                "Action": ["sts:AssumeRoleWithWebIdentity", "sts:TagSession", "sts:SetSourceIdentity"],
                "Condition": {
                    "StringEquals": {f"{provider.name}:aud": list(provider.client_ids)},
                    **tagged,
                },
            }
            for provider in self.providers.values()
        ]
        statements.append(
            {
                "Effect": "Allow",
                "Principal": {"AWS": self.user.arn},
                "Action": ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"],
                "Condition": tagged,
            }
        )
        return {"Version": "2012-10-17", "Statement": statements}

    def trusts(self, role: Role, kind: str, principal: str, action: str, context: iam.Context) -> bool:
        """Does the role's trust policy let this principal do this?"""
        document = self.trust_policy(role)
        mine = [s for s in iam.statements(document) if _principal_matches(s.get("Principal"), kind, principal)]
        return bool(mine) and iam.evaluate({"Statement": mine}, action, role.arn, context) == iam.ALLOW

    def issue(self, role: Role, name: str, seconds: float, **more: object) -> Session:
        session = Session(
            access_key_id=_id("ASIA"),
            secret_access_key=secrets.token_urlsafe(30),
            session_token=secrets.token_urlsafe(300),
            expires_at=time.time() + seconds,
            role=role,
            name=name,
            account_id=self.id,
            **more,  # type: ignore[arg-type]
        )
        with self._lock:
            self._sessions[session.access_key_id] = session
        return session

    def session(self, access_key_id: str) -> Optional[Session]:
        return self._sessions.get(access_key_id)

    def secret_of(self, access_key_id: str) -> Optional[str]:
        if access_key_id == self.user.access_key_id:
            return self.user.secret_access_key
        session = self.session(access_key_id)
        return session.secret_access_key if session else None


def _principal_matches(principal: object, kind: str, arn: str) -> bool:
    if principal == "*":
        return True
    if not isinstance(principal, dict):
        return False
    named = principal.get(kind)
    return arn in named if isinstance(named, list) else named == arn


def authorize(account: Account, access_key_id: str, action: str, resource: str, prefix: Optional[str]) -> dict:
    """What S3 would decide for these credentials, layer by layer."""
    session = account.session(access_key_id)
    if session is None:
        raise StsError("InvalidClientTokenId", "No such credential was issued here")
    if session.expires_at <= time.time():
        return {"allowed": False, "reason": "expired", "role_policy": None, "session_policy": None}
    context = request_context(session, prefix)
    role = iam.evaluate(session.role.policy, action, resource, context)
    inline = iam.evaluate(session.policy, action, resource, context) if session.policy else iam.ALLOW
    allowed = role == iam.ALLOW and inline == iam.ALLOW
    return {
        "allowed": allowed,
        "reason": "allowed" if allowed else "denied",
        "role_policy": role,
        "session_policy": inline if session.policy else None,
    }


def request_context(session: Session, prefix: Optional[str]) -> Dict[str, List[str]]:
    context = {f"aws:PrincipalTag/{key}": [value] for key, value in session.tags.items()}
    context["aws:userid"] = [session.assumed_role_id]
    context["aws:PrincipalArn"] = [session.role.arn]
    if session.source_identity:
        context["aws:SourceIdentity"] = [session.source_identity]
    if prefix is not None:
        context["s3:prefix"] = [prefix]
    return context


def whole_bucket_policy(bucket: str) -> dict:
    """A role that keeps nobody apart: isolation must then come from the session policy."""
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": "s3:*",
                "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
            }
        ],
    }


def tag_policy(bucket: str, prefix: str = "bots/") -> dict:
    """A role whose reach is the principal tag: isolation must then come from the tag."""
    own = f"{prefix}${{aws:PrincipalTag/{TAG}}}/*"
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
                "Resource": f"arn:aws:s3:::{bucket}/{own}",
            },
            {
                "Effect": "Allow",
                "Action": "s3:ListBucket",
                "Resource": f"arn:aws:s3:::{bucket}",
                "Condition": {"StringLike": {"s3:prefix": own}},
            },
        ],
    }


def tag_context(tags: Mapping[str, str]) -> Dict[str, List[str]]:
    """The condition keys that session tags give to a trust policy."""
    context = {f"aws:RequestTag/{key}": [value] for key, value in tags.items()}
    if tags:
        context["aws:TagKeys"] = list(tags)
    return context


def _id(prefix: str) -> str:
    return prefix + secrets.token_hex(8).upper()
