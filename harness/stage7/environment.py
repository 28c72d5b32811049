"""What a proof may know of the machine: PATH, a home directory of its own, a locale. No credential, no endpoint."""
from __future__ import annotations

import os
from pathlib import Path
from typing import Dict, List, Mapping

KEPT = ("PATH", "TMPDIR", "CARGO_HOME", "RUSTUP_HOME", "CMAKE")


def scrubbed(home: Path, binaries: Path, outer: Mapping[str, str] = os.environ) -> Dict[str, str]:
    home.mkdir(parents=True, exist_ok=True)
    environment = {name: outer[name] for name in KEPT if name in outer}
    # A page that says `cargo install` is pasted in a home of its own, which has a toolchain.
    toolchains = Path(outer.get("RUSTUP_HOME") or Path(outer.get("HOME", "/nonexistent")) / ".rustup")
    if toolchains.is_dir() and not (home / ".rustup").exists():
        (home / ".rustup").symlink_to(toolchains)
    environment.update(HOME=str(home), LANG="C.UTF-8", PYTHONDONTWRITEBYTECODE="1")
    return {**environment, **programs(binaries)}


def programs(directory: Path) -> Dict[str, str]:
    """Where the tests find the three programs."""
    return {
        "BROKER_BIN": str(directory / "agentkeys-broker-server"),
        "AGENTKEYS_BIN": str(directory / "agentkeys"),
        "AGENTKEYS_DAEMON_BIN": str(directory / "agentkeys-daemon"),
    }


def names(environment: Mapping[str, str]) -> List[str]:
    return sorted(environment)
