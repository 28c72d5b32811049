"""Free TCP ports on loopback, below the range the kernel hands to clients.

Asking the kernel for port 0 gives a port of its ephemeral range, which any
outgoing connection may take before the server binds it. Ports from below that
range are lost only to another server, so a port handed out here stays free.

Runs beside this one draw from the same range, so each port is claimed by a lock
on one byte of a file, which the system takes back when the process ends.
"""
from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
import threading
from pathlib import Path
from typing import Optional

_PLAIN = range(30000, 32700)
_WITH_TWIN = range(10300, 20000)
_TWIN_OFFSET = 10000

_taken: set[int] = set()
_lock = threading.Lock()
_claims: Optional[int] = None


def free_port() -> int:
    """One port that nothing listens on, never handed out twice by this process."""
    return _pick(_PLAIN, offsets=(0,))


def free_port_with_twin() -> int:
    """A port P where P + 10000 is free too: SeaweedFS puts gRPC there."""
    return _pick(_WITH_TWIN, offsets=(0, _TWIN_OFFSET))


def _pick(candidates: range, offsets: tuple[int, ...]) -> int:
    with _lock:
        for port in random.sample(candidates, len(candidates)):
            wanted = [port + offset for offset in offsets]
            if all(p not in _taken and _claim(p) and _is_free(p) for p in wanted):
                _taken.update(wanted)
                return port
    raise RuntimeError(f"no free port in {candidates.start}..{candidates.stop}")


def _claim(port: int) -> bool:
    """No other process was given this port."""
    global _claims
    if _claims is None:
        path = Path(tempfile.gettempdir()) / f"agentkeys-ports-{os.getuid()}"
        _claims = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.lockf(_claims, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    return True


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
