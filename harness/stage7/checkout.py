"""A copy of what is under version control, with one text replaced: docs and conf that say something wrong."""
from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import List


class NotThere(ValueError):
    """The text that the mutation replaces does not exist any more."""


def copy(root: Path, to: Path) -> Path:
    for name in _files(root):
        source, target = root / name, to / name
        if not source.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target, follow_symlinks=False)
    for shared in (".tools",):
        if (root / shared).exists():
            (to / shared).symlink_to((root / shared).resolve())
    return to


def replace(checkout: Path, path: str, old: str, new: str) -> None:
    file = checkout / path
    text = file.read_text()
    if old not in text:
        raise NotThere(f"{path} does not contain {old!r}")
    file.write_text(text.replace(old, new))


def _files(root: Path) -> List[str]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=root, capture_output=True, text=True,
    )
    if listed.returncode == 0:
        return [name for name in listed.stdout.split("\0") if name and name != ".tools"]
    # An unpacked archive has no index.
    skipped = {"target", ".tools", ".git"}
    return [
        str(path.relative_to(root))
        for path in root.rglob("*")
        if path.is_file() and not skipped & set(path.relative_to(root).parts)
    ]
