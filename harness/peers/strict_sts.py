"""Runs the strict STS double as its own process and speaks its controls."""
from __future__ import annotations

import http.client
import json
import os
import re
import secrets
import sys
from pathlib import Path
from typing import Any, List, Mapping, Optional

from . import s3
from .peer import Peer
from .process import ManagedProcess

HARNESS = Path(__file__).resolve().parent.parent


class StrictSts(Peer):
    ready_seconds = 15.0
    stop_seconds = 1.0

    def __init__(self, directory: Path, account: str = "111122223333", options: tuple = ()) -> None:
        super().__init__(directory, "sts-double", port=0)
        self.account = account
        self.options = options
        self.role_arn = f"arn:aws:iam::{account}:role/agentkeys-agent"
        self.bucket = f"agentkeys-mail-{account}"
        self.access_key_id = "AKIA" + secrets.token_hex(8).upper()
        self.secret_access_key = secrets.token_urlsafe(30)
        self._output = directory / "sts-double.out"

    def _child(self) -> ManagedProcess:
        return self._managed(
            [sys.executable, "-m", "sts_double", "--account", self.account, *self.options],
            stdout=self._output,
            cwd=HARNESS,
            env={
                "PATH": os.environ.get("PATH", ""),
                "STS_DOUBLE_ACCESS_KEY_ID": self.access_key_id,
                "STS_DOUBLE_SECRET_ACCESS_KEY": self.secret_access_key,
            },
        )

    def _is_ready(self) -> object:
        found = re.match(r"ready http://127\.0\.0\.1:(\d+)\n", self._output.read_text())
        self.port = int(found.group(1)) if found else 0
        return self.port

    def trust_issuer(self, issuer: str, **more: Any) -> None:
        self._control("POST", "/__providers", {"issuer": issuer, **more})

    def set_role_policy(self, policy: Any, name: str = "agentkeys-agent", **more: Any) -> None:
        """`policy` is a document, "tag" or "whole_bucket"."""
        self._control("POST", "/__roles", {"name": name, "policy": policy, **more})

    def fault(self, kind: str, count: Optional[int] = None, **more: Any) -> None:
        self._control("POST", "/__fault", {"kind": kind, "count": count, **more})

    def clear_faults(self) -> None:
        self._control("DELETE", "/__fault")

    def short_life(self, seconds: Optional[float]) -> None:
        self._control("POST", "/__short_life", {"seconds": seconds})

    def forget_keys(self) -> None:
        self._control("POST", "/__forget_keys")

    def forget_calls(self) -> None:
        self._control("DELETE", "/__calls")

    def calls(self, operation: Optional[str] = None) -> List[dict]:
        found = self._control("GET", "/__calls")["calls"]
        return [c for c in found if operation is None or c["operation"] == operation]

    def mint_calls(self) -> List[dict]:
        return [c for c in self.calls() if c["operation"] in ("AssumeRole", "AssumeRoleWithWebIdentity")]

    def reset(self) -> None:
        """As new: no fault, no record, the tag policy on the role."""
        self.clear_faults()
        self.forget_calls()
        self.short_life(None)
        self.set_role_policy("tag")

    def authorize(
        self, minted: Mapping[str, str], action: str, key: str = "", prefix: Optional[str] = None
    ) -> dict:
        resource = f"arn:aws:s3:::{self.bucket}" + (f"/{key}" if key else "")
        order = {
            "access_key_id": minted["access_key_id"],
            "action": action,
            "resource": resource,
            "prefix": prefix,
        }
        return self._control("POST", "/__authorize", order)

    def client(self) -> Any:
        return s3.client("sts", self.endpoint, self.access_key_id, self.secret_access_key)

    def _control(self, method: str, path: str, body: Optional[dict] = None) -> dict:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        document = json.loads(text)
        if answer.status != 200:
            raise RuntimeError(f"{method} {path}: {document}")
        return document
