"""Finds a tool beside the running Python first (.tools/venv/bin), then on PATH."""
from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Optional


def find_tool(name: str) -> Optional[str]:
    beside = Path(sys.executable).parent / name
    if beside.exists():
        return str(beside)
    return shutil.which(name)


def require_tool(name: str, package: str) -> str:
    found = find_tool(name)
    if found is None:
        raise FileNotFoundError(f"{name} is not installed: run scripts/bootstrap (it comes with {package})")
    return found
