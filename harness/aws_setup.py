"""Does to an emulated account what the operator does to AWS: runs the printed script.

The awscli beside the running Python executes it; nothing of the machine's own
AWS configuration is in its environment.
"""
from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, Tuple

from brokerlib import Broker


def documents(broker: Broker, directory: Path, *more: str) -> Dict[str, Any]:
    """`aws policies --out`, read back by file name."""
    done = broker.run_cli("aws", "policies", "--out", str(directory), *more)
    assert done.exit_code == 0, done
    return {path.stem: json.loads(path.read_text()) for path in directory.glob("*.json")}


def script(broker: Broker, *more: str) -> str:
    done = broker.run_cli("aws", "policies", "--format", "cli", *more)
    assert done.exit_code == 0, done
    return done.stdout


def run_script(text: str, endpoint: str, key: Tuple[str, str], home: Path) -> None:
    beside = Path(sys.executable).parent
    done = subprocess.run(
        ["sh", "-c", text],
        env={
            "PATH": f"{beside}:{os.environ.get('PATH', '/usr/bin:/bin')}",
            "HOME": str(home),
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": key[0],
            "AWS_SECRET_ACCESS_KEY": key[1],
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def allow_plain_http(s3: Any, bucket: str) -> None:
    """Takes the statement against plain http out of the bucket's policy: emulators speak nothing else."""
    policy = json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])
    policy["Statement"] = [s for s in policy["Statement"] if s["Sid"] != "NothingInTheClear"]
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
