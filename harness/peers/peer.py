"""What every real server of the suite has in common: a child process that is started, waited for, set up, stopped."""
from __future__ import annotations

from pathlib import Path
from typing import Any, List, Optional, TypeVar

from .process import ManagedProcess

P = TypeVar("P", bound="Peer")


class Peer:
    """One server on loopback in a directory of its own. A peer that cannot be set up is stopped again."""

    ready_seconds = 30.0
    stop_seconds = 2.0

    def __init__(self, directory: Path, name: str, port: int) -> None:
        self.directory = directory
        # 0 where the server chooses one and says it.
        self.port = port
        self.log = directory / f"{name}.log"
        self._process: Optional[ManagedProcess] = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self: P) -> P:
        self.directory.mkdir(parents=True, exist_ok=True)
        self._process = self._child().start()
        try:
            self._process.wait_ready(self._is_ready, self.ready_seconds)
            self._set_up()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._process:
            self._process.stop(self.stop_seconds)

    def _child(self) -> ManagedProcess:
        """The process, not yet started."""
        raise NotImplementedError

    def _is_ready(self) -> object:
        raise NotImplementedError

    def _set_up(self) -> None:
        """What is done once it answers."""

    def _managed(self, argv: List[str], **more: Any) -> ManagedProcess:
        return ManagedProcess(argv, log=self.log, **{"cwd": self.directory, **more})
