"""What a process and its descendants showed to others while they lived."""
from __future__ import annotations

from pathlib import Path
from typing import Dict, List


class Watched:
    """Arguments and environments of a process and all that descend from it, while they live."""

    def __init__(self, root: int) -> None:
        self.root = root
        self.arguments: set = set()
        self.environments: set = set()

    def look(self) -> None:
        for pid in self.descendants():
            try:
                self.arguments.add(Path(f"/proc/{pid}/cmdline").read_text(errors="replace"))
                self.environments.add(Path(f"/proc/{pid}/environ").read_text(errors="replace"))
            except OSError:
                continue

    def descendants(self) -> List[int]:
        parents: Dict[int, int] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    parents[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
                except (OSError, IndexError):
                    continue
        return [pid for pid in parents if self._descends(pid, parents)]

    def _descends(self, pid: int, parents: Dict[int, int]) -> bool:
        while pid in parents and pid > 1:
            if pid == self.root:
                return True
            pid = parents[pid]
        return False
