"""A child process with its log in a file, a readiness condition, and a stop by pid."""
from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Callable, Mapping, Optional, Sequence

POLL_SECONDS = 0.02


class ProcessFailed(RuntimeError):
    """The child ended, or was not ready in time. The message carries its log's tail."""


def wait_until(condition: Callable[[], object], timeout: float, what: str) -> object:
    """Polls until `condition` gives a truthy value and returns that value."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise TimeoutError(f"not within {timeout:g} s: {what}")
        time.sleep(POLL_SECONDS)


def port_accepts(port: int, host: str = "127.0.0.1") -> bool:
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False


def http_answers(port: int, path: str = "/", statuses: Optional[Sequence[int]] = None) -> bool:
    """Whether a GET gets an HTTP answer at all, or one of `statuses`."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        status = connection.getresponse().status
        return statuses is None or status in statuses
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


class ManagedProcess:
    """One child. stdout and stderr go to files, so that a full pipe never blocks it."""

    def __init__(
        self,
        argv: Sequence[str],
        log: Path,
        env: Optional[Mapping[str, str]] = None,
        cwd: Optional[Path] = None,
        stdout: Optional[Path] = None,
        user: Optional[int] = None,
    ) -> None:
        self.argv = [str(part) for part in argv]
        self.log = log
        self.stdout = stdout
        # Another uid, for tests of file permissions, which root does not feel.
        self.user = user
        self.env = dict(env) if env is not None else None
        self.cwd = cwd
        self._child: Optional[subprocess.Popen] = None

    def start(self) -> "ManagedProcess":
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with open(self.log, "ab") as errors:
            output = open(self.stdout, "ab") if self.stdout else errors
            try:
                self._child = subprocess.Popen(
                    self.argv,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=errors,
                    env=self.env,
                    cwd=self.cwd,
                    user=self.user,
                    group=self.user,
                    extra_groups=[] if self.user is not None else None,
                )
            finally:
                if output is not errors:
                    output.close()
        return self

    @property
    def pid(self) -> int:
        assert self._child is not None, "not started"
        return self._child.pid

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.poll() is None

    @property
    def exit_code(self) -> Optional[int]:
        return self._child.poll() if self._child else None

    def wait_ready(self, condition: Callable[[], object], timeout: float) -> object:
        def ready() -> object:
            if not self.running:
                raise ProcessFailed(
                    f"{Path(self.argv[0]).name} ended with {self.exit_code} before it was ready"
                    f"\n{self.log_tail()}"
                )
            return condition()

        try:
            return wait_until(ready, timeout, f"{Path(self.argv[0]).name} ready")
        except TimeoutError as late:
            raise ProcessFailed(f"{late}\n{self.log_tail()}") from None

    def wait(self, timeout: float) -> int:
        assert self._child is not None, "not started"
        return self._child.wait(timeout)

    def signal(self, number: int) -> None:
        if self.running:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        if self._child is not None:
            self._child.wait()

    def stop(self, grace: float = 5.0) -> None:
        """Asks, waits a bounded time, then kills: only ever this one pid."""
        self.signal(signal.SIGTERM)
        if self._child is None:
            return
        try:
            self._child.wait(grace)
        except subprocess.TimeoutExpired:
            self.kill()

    def log_tail(self, characters: int = 3000) -> str:
        parts = []
        for path in (self.stdout, self.log):
            if path and path.exists():
                parts.append(path.read_text(errors="replace")[-characters:])
        return "\n".join(parts)

    def __enter__(self) -> "ManagedProcess":
        return self.start()

    def __exit__(self, *_exc: object) -> None:
        self.stop()
