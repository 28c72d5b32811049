"""ministack: signed AssumeRole, IAM and S3 with signatures and policies enforced."""
from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any, Mapping, Optional

from . import s3
from .aws_account import AwsAccount, provision
from .peer import Peer
from .ports import free_port
from .process import ManagedProcess, http_answers
from .tools import require_tool

ACCOUNT = "000000000000"


class Ministack(Peer):
    def __init__(self, directory: Path, provisioned: bool = True) -> None:
        """Without `provisioned`, an account with nothing in it."""
        super().__init__(directory, "ministack", free_port())
        self.provisioned = provisioned
        self.root_access_key = "ROOT" + secrets.token_hex(8).upper()
        self.root_secret_key = secrets.token_urlsafe(30)
        self.account: Optional[AwsAccount] = None

    def _child(self) -> ManagedProcess:
        return self._managed([require_tool("ministack", "ministack")], env=self._environment())

    def _is_ready(self) -> object:
        return http_answers(self.port, "/_ministack/health", (200,))

    def _set_up(self) -> None:
        if self.provisioned:
            self.account = provision(self.admin, ACCOUNT)

    def admin(self, service: str) -> Any:
        return s3.client(service, self.endpoint, self.root_access_key, self.root_secret_key)

    def as_minted(self, minted: Mapping[str, str], service: str = "s3") -> Any:
        return s3.minted_client(service, self.endpoint, minted)

    def _environment(self) -> dict:
        return {
            "PATH": os.environ.get("PATH", ""),
            "HOME": str(self.directory),
            # It listens on every interface unless told.
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(self.port),
            "AUTH": "true",
            "PERSIST_STATE": "0",
            # No other listener than the one above.
            "SFTP_ENABLED": "0",
            "IOT_MTLS_ENABLED": "0",
            "AWS_ACCESS_KEY_ID": self.root_access_key,
            "AWS_SECRET_ACCESS_KEY": self.root_secret_key,
        }
