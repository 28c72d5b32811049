"""No credential without its audit record, whatever happens to the audit's file.

In each case: 503 within the deadline, nothing in the answer that opens
anything, STS not asked where the intent could not be written, and minting again
by itself once the file is back.
"""
from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from brokerlib import timed, wait_mint
from expect import no_credential, refused, unavailable
from peers.process import wait_until

WRITE_DEADLINE = 1.0
# The deadline, and room for a busy machine.
BOUND_SECONDS = WRITE_DEADLINE + 2.5
NOBODY = 65534

AUDIT = {"audit": {"path": "audit.sqlite", "write_deadline": "1s"}}


@contextmanager
def locked(path: Path):
    """Another writer holds the database, as a forgotten sqlite3 shell would."""
    connection = sqlite3.connect(str(path), isolation_level=None, timeout=5)
    connection.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


def refuses_in_time(broker, token) -> None:
    answer, seconds = timed(broker.try_mint, token)
    unavailable(answer, "audit_unavailable")
    assert seconds < BOUND_SECONDS, f"fail closed became hang: {seconds:.1f} s"


def holds_afterwards(broker, minted) -> None:
    assert broker.audit_of(minted["mint_id"])["outcome"]["outcome"] == "granted"
    assert broker.audit_verify()["ok"] is True


def test_a_locked_audit(role_broker, sts):
    broker = role_broker(AUDIT)
    token = broker.token()
    broker.mint(token)
    sts.forget_calls()
    with locked(broker.data_dir / "audit.sqlite"):
        refuses_in_time(broker, token)
        answer, seconds = timed(broker.try_mint_jwt, token)
        unavailable(answer, "audit_unavailable")
        assert seconds < BOUND_SECONDS
        assert sts.mint_calls() == [], "without a durable intent STS is not asked"
    holds_afterwards(broker, wait_mint(broker, token))


def test_a_locked_audit_does_not_hold_up_anything_else(role_broker, sts):
    broker = role_broker(AUDIT)
    token = broker.token()
    with locked(broker.data_dir / "audit.sqlite"):
        for call in (
            lambda: broker.get("/healthz"),
            lambda: broker.get("/.well-known/jwks.json"),
            lambda: broker.get("/v1/session", token=token),
        ):
            answer, seconds = timed(call)
            assert answer.status == 200 and seconds < 1
        answer, seconds = timed(broker.try_mint, "garbage")
        refused(answer, 401, "invalid_token")
        assert seconds < 1, "a refusal is noted, not waited for"


def test_a_lock_between_intent_and_outcome_withholds_the_credential(role_broker, sts):
    """STS has granted; the outcome cannot be written; so nothing leaves."""
    broker = role_broker(AUDIT)
    token = broker.token()
    sts.fault("latency", seconds=1.0)
    answers = []
    minting = threading.Thread(target=lambda: answers.append(broker.try_mint(token)))
    minting.start()
    wait_until(lambda: sts.mint_calls(), 10, "STS has been asked")
    with locked(broker.data_dir / "audit.sqlite"):
        minting.join(15)
        assert not minting.is_alive()
    (answer,) = answers
    assert sts.mint_calls()[0]["outcome"] == "ok", "STS did grant"
    unavailable(answer, "audit_unavailable")
    sts.clear_faults()
    wait_mint(broker, token)
    assert broker.audit_verify()["ok"] is True


def test_many_mints_against_a_lock_all_end_in_time(role_broker, sts):
    broker = role_broker(AUDIT)
    token = broker.token()
    results = []
    with locked(broker.data_dir / "audit.sqlite"):
        threads = [
            threading.Thread(target=lambda: results.append(timed(broker.try_mint, token))) for _ in range(16)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert len(results) == 16
    for answer, seconds in results:
        assert answer.status == 503, answer
        no_credential(answer)
        assert seconds < BOUND_SECONDS
    wait_mint(broker, token)


def audit_files(broker) -> list:
    return [path for path in broker.data_dir.iterdir() if path.name.startswith("audit.sqlite")]


def grants_only_what_is_on_record(broker, token) -> None:
    """A write to a file that is gone is durable for nobody: each grant is in the file at the path."""
    granted = set()
    for _ in range(10):
        answer, seconds = timed(broker.try_mint, token)
        assert seconds < BOUND_SECONDS
        if answer.status == 200:
            granted.add(answer.json()["mint_id"])
        else:
            unavailable(answer, "audit_unavailable")
    if granted:
        with sqlite3.connect(f"file:{broker.data_dir / 'audit.sqlite'}?mode=ro", uri=True) as file:
            dump = "\n".join(file.iterdump())
        assert all(mint_id in dump for mint_id in granted)


def test_a_deleted_audit_file_is_noticed(role_broker, sts):
    broker = role_broker(AUDIT)
    token = broker.token()
    broker.mint(token)
    for path in audit_files(broker):
        path.unlink()
    grants_only_what_is_on_record(broker, token)


def test_an_audit_file_that_was_moved_away_and_put_back(role_broker, sts):
    """A log rotation gone wrong, and mended."""
    broker = role_broker(AUDIT)
    token = broker.token()
    before = broker.mint(token)
    away = broker.directory / "away"
    away.mkdir()
    for path in audit_files(broker):
        path.rename(away / path.name)
    grants_only_what_is_on_record(broker, token)
    for path in audit_files(broker):
        path.unlink()
    for path in away.iterdir():
        path.rename(broker.data_dir / path.name)
    holds_afterwards(broker, wait_mint(broker, token))
    assert broker.audit_of(before["mint_id"])["outcome"]["outcome"] == "granted", "the old chain goes on"


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MiB. Needs root."""
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    where = tmp_path / "disk"
    where.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m,mode=0700", "tmpfs", str(where)], capture_output=True, text=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"mount is not permitted here: {mounted.stderr.strip()}")
    yield where
    subprocess.run(["umount", "--lazy", str(where)], check=True)


@pytest.mark.needs_root
def test_a_full_disk(role_broker, sts, small_disk):
    config = {"audit": {"path": str(small_disk / "audit.sqlite"), "write_deadline": "1s"}}
    broker = role_broker(config)
    token = broker.token()
    broker.mint(token)
    filler = small_disk / "filler"
    with open(filler, "wb", buffering=0) as file:
        try:
            while file.write(b"\0" * 4096):
                pass
        except OSError:
            pass
    assert shutil.disk_usage(small_disk).free < 4096
    granted = []
    for _ in range(300):
        answer, seconds = timed(broker.try_mint, token)
        assert seconds < BOUND_SECONDS
        if answer.status == 200:
            # What still found room in the write-ahead log must be on record.
            granted.append(answer.json()["mint_id"])
            continue
        unavailable(answer, "audit_unavailable")
        break
    else:
        pytest.fail("300 mints granted on a full disk")
    filler.unlink()
    holds_afterwards(broker, wait_mint(broker, token))
    on_record = {row["mint_id"] for row in broker.audit_all() if row["outcome"] == "granted"}
    assert set(granted) <= on_record


def test_a_read_only_audit_file(role_broker, sts):
    """At start: either it refuses to run, or it runs and refuses to mint."""
    as_root = os.geteuid() == 0
    broker = role_broker(AUDIT, user=NOBODY if as_root else None, start=False)
    if as_root and not _nobody_can_run(broker):
        pytest.skip("the binary cannot be executed by an unprivileged user from where it lies")
    broker.start()
    assert broker.terminate() == 0
    files = [path for path in broker.data_dir.iterdir() if path.name.startswith("audit.sqlite")]
    for path in files:
        path.chmod(0o400)
    try:
        broker.start(ready=False)
    except Exception:
        assert not broker.running
        assert "audit" in broker.logs().lower(), "it says what is wrong"
        return
    # The command line speaks to the socket, whose owner is the broker's user; root may too.
    answer = broker.try_mint(broker.token())
    assert answer.status in (401, 503), answer
    no_credential(answer)
    broker.wait_readyz(503)


def _nobody_can_run(broker) -> bool:
    from brokerlib import binary

    done = subprocess.run(
        [str(binary()), "--version"], user=NOBODY, group=NOBODY, extra_groups=[], capture_output=True, cwd="/"
    ) if _reachable(binary()) else None
    return done is not None and done.returncode == 0


def _reachable(path: Path) -> bool:
    return all(parent.stat().st_mode & 0o001 for parent in path.resolve().parents)


def test_readiness_follows_the_audit(role_broker, sts):
    broker = role_broker(AUDIT)
    token = broker.token()
    with locked(broker.data_dir / "audit.sqlite"):
        def unready() -> bool:
            broker.try_mint(token)
            return broker.get("/readyz").status == 503

        wait_until(unready, 20, "/readyz turns 503")
        failing = [c for c in broker.get("/readyz").json()["checks"] if c["status"] not in ("ok", "pass", "ready")]
        assert any("audit" in check["name"] for check in failing), failing
        for check in failing:
            assert check["reason"] and "#" in str(check), "name, status, reason and the runbook's anchor"
    broker.wait_readyz(200, timeout=30)
    wait_mint(broker, token)


def test_a_start_with_a_broken_audit_hands_out_nothing(role_broker, sts):
    broker = role_broker(AUDIT)
    token = broker.token()
    assert broker.terminate() == 0
    for path in broker.data_dir.iterdir():
        if path.name.startswith("audit.sqlite"):
            path.unlink()
    (broker.data_dir / "audit.sqlite").write_bytes(b"this is not a database, whatever its name says" * 100)
    try:
        broker.start(ready=False)
    except Exception:
        assert not broker.running and "audit" in broker.logs().lower()
        return
    answer = broker.try_mint(token)
    assert answer.status == 503, answer
    no_credential(answer)
