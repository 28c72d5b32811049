"""HTTP as bytes on a socket, for what no well-behaved client would send."""
from __future__ import annotations

import select
import socket
import time
from typing import Dict, List, Optional, Tuple

from http_client import Answer


class RawConnection:
    def __init__(self, host: str, port: int, timeout: float = 15) -> None:
        self.socket = socket.create_connection((host, port), timeout=timeout)
        self._pending = b""

    def send(self, data: bytes) -> bool:
        """False where the other side has closed: its answer may still be readable."""
        try:
            self.socket.sendall(data)
            return True
        except (BrokenPipeError, ConnectionResetError):
            return False

    def answer(self, bodiless: bool = False) -> Optional[Answer]:
        """The next whole answer, or None where the connection closed before one began."""
        head = self._until(b"\r\n\r\n")
        if head is None:
            return None
        status, headers = _head(head)
        length = int(dict((k.lower(), v) for k, v in headers).get("content-length", "0"))
        if bodiless or status < 200:
            length = 0
        while len(self._pending) < length:
            if not self._receive():
                raise ConnectionError(f"closed in the middle of a body: {head!r} {self._pending!r}")
        body, self._pending = self._pending[:length], self._pending[length:]
        return Answer(status, headers, body)

    def answers_until_close(self) -> List[Answer]:
        found = []
        while True:
            answer = self.answer()
            if answer is None:
                return found
            found.append(answer)

    def seconds_until_closed(self, limit: float, trickle: Optional[bytes] = None, every: float = 0.2) -> float:
        """How long the other side lets this connection live; sends `trickle` byte by byte meanwhile.

        Anything received is kept for `answer`.
        """
        started = time.monotonic()
        sent = 0
        while time.monotonic() - started < limit:
            readable, _, _ = select.select([self.socket], [], [], every)
            if readable and not self._receive():
                return time.monotonic() - started
            if not readable and trickle is not None:
                if not self.send(trickle[sent % len(trickle) : sent % len(trickle) + 1]):
                    trickle = None
                sent += 1
        raise AssertionError(f"still open after {limit} s")

    def closed_by_peer(self) -> bool:
        """Whether a FIN or RST has already arrived, without waiting."""
        readable, _, _ = select.select([self.socket], [], [], 0)
        if not readable:
            return False
        try:
            return self.socket.recv(1, socket.MSG_PEEK) == b""
        except OSError:
            return True

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> "RawConnection":
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def _until(self, mark: bytes) -> Optional[bytes]:
        while mark not in self._pending:
            if not self._receive():
                if self._pending:
                    raise ConnectionError(f"closed in the middle of a head: {self._pending!r}")
                return None
        head, _, self._pending = self._pending.partition(mark)
        return head

    def _receive(self) -> bool:
        try:
            data = self.socket.recv(65536)
        except ConnectionResetError:
            return False
        self._pending += data
        return bool(data)


def _head(head: bytes) -> Tuple[int, List[Tuple[str, str]]]:
    lines = head.decode("latin-1").split("\r\n")
    headers = [(name.strip(), value.strip()) for name, _, value in (line.partition(":") for line in lines[1:])]
    return int(lines[0].split(" ")[1]), headers


def request(method: str, path: str, headers: Dict[str, str], body: bytes = b"", host: str = "127.0.0.1") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body
