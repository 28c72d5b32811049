"""`backup --to DIR`: what a broker knew can be had again from it."""
from __future__ import annotations

import shutil
import stat

from expect import new_wallet


def test_a_backup_of_a_running_broker_is_restored_elsewhere(role_broker, tmp_path):
    broker, wallet = role_broker(), new_wallet()
    token = broker.token(wallet)
    revoked = broker.session_issue()
    broker.cli("session", "revoke", revoked["session_id"])
    broker.mint(token)
    kept = tmp_path / "backup"
    made = broker.cli("backup", "--to", str(kept))
    assert {path.name for path in kept.iterdir()} == {"broker.sqlite", "audit.sqlite"}
    for path in kept.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
        # No key is in it, and no token.
        assert token.encode() not in path.read_bytes()
    assert broker.cli("audit", "verify", "--file", str(kept / "audit.sqlite"))["head"] == made["audit"]["head"]
    before = len(broker.audit())
    # A second backup into the same place would leave nobody sure which is which.
    again = broker.run_cli("backup", "--to", str(kept))
    assert again.exit_code == 1 and "exist" in again.stderr
    broker.terminate()

    # Another machine, as the runbook says.
    other = role_broker(start=False)
    other.data_dir.mkdir(mode=0o700)
    for path in kept.iterdir():
        shutil.copy(path, other.data_dir / path.name)
    other.start()
    assert other.mint(token)["wallet"] == wallet
    assert other.try_mint(revoked["token"]).status == 401
    assert other.audit_verify()["ok"] and len(other.audit()) > before


def test_a_backup_needs_no_running_broker(role_broker, tmp_path):
    broker = role_broker()
    broker.token()
    broker.terminate()
    made = broker.cli("backup", "--to", str(tmp_path / "backup"))
    assert made["audit"]["records"] >= 1
