"""ministack: signed AssumeRole, IAM and S3 with signatures and policies enforced."""
from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any, Mapping, Optional

from . import s3
from .aws_account import AwsAccount, provision
from .ports import free_port
from .process import ManagedProcess, http_answers
from .tools import require_tool

ACCOUNT = "000000000000"


class Ministack:
    def __init__(self, directory: Path, provisioned: bool = True) -> None:
        """Without `provisioned`, an account with nothing in it."""
        self.directory = directory
        self.provisioned = provisioned
        self.port = free_port()
        self.log = directory / "ministack.log"
        self.root_access_key = "ROOT" + secrets.token_hex(8).upper()
        self.root_secret_key = secrets.token_urlsafe(30)
        self.account: Optional[AwsAccount] = None
        self._process: Optional[ManagedProcess] = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> "Ministack":
        self.directory.mkdir(parents=True, exist_ok=True)
        self._process = ManagedProcess(
            [require_tool("ministack", "ministack")], log=self.log, env=self._environment(), cwd=self.directory
        )
        self._process.start()
        try:
            self._process.wait_ready(lambda: http_answers(self.port, "/_ministack/health", (200,)), timeout=30)
            if self.provisioned:
                self.account = provision(self.admin, ACCOUNT)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._process:
            self._process.stop(2)

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
