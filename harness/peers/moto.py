"""moto: AWS's error shapes for a wrong key, a wrong signature and a refused action.

It verifies no JWT and knows no session policy, so it can prove nothing about
isolation: ask SeaweedFS, ministack or the strict double for that.
"""
from __future__ import annotations

import os
import urllib.request
from pathlib import Path
from typing import Any, Optional

from . import s3
from .aws_account import AwsAccount, provision
from .peer import Peer
from .ports import free_port
from .process import ManagedProcess, http_answers
from .tools import require_tool

ACCOUNT = "123456789012"


class Moto(Peer):
    ready_seconds = 60.0

    def __init__(self, directory: Path, provisioned: bool = True) -> None:
        """Without `provisioned`, an account with nothing in it, and nothing enforced that setting it up needs."""
        super().__init__(directory, "moto", free_port())
        self.provisioned = provisioned
        self.account: Optional[AwsAccount] = None

    def _child(self) -> ManagedProcess:
        return self._managed(
            [require_tool("moto_server", "moto"), "-H", "127.0.0.1", "-p", str(self.port)],
            env={"PATH": os.environ.get("PATH", ""), "HOME": str(self.directory)},
        )

    def _is_ready(self) -> object:
        return http_answers(self.port, "/moto-api/", (200,))

    def _set_up(self) -> None:
        if self.provisioned:
            self.account = provision(self.admin, ACCOUNT)
            self.enforce_policies()

    def admin(self, service: str) -> Any:
        """Only of use before `enforce_policies`: afterwards this key is unknown to moto."""
        return s3.client(service, self.endpoint, "setup", "setup")

    def enforce_policies(self) -> None:
        """From now on every call is authorised (0 free actions left)."""
        self._allow_free_actions("0")

    def stop_enforcing(self) -> None:
        self._allow_free_actions("inf")

    def _allow_free_actions(self, number: str) -> None:
        request = urllib.request.Request(
            f"{self.endpoint}/moto-api/reset-auth",
            data=number.encode(),
            method="POST",
            # As a form (urllib's default) the number would not reach moto.
            headers={"Content-Type": "text/plain"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            answer.read()
