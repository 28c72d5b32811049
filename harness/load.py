"""Load from a few threads on kept-alive connections, each answer accounted for."""
from __future__ import annotations

import http.client
import threading
import time
from dataclasses import dataclass, field
from typing import Any, Callable, List, Optional

from http_client import Answer, Client


@dataclass
class Tally:
    """What all threads saw.

    `lost` are requests on a connection that the broker had accepted, sent and
    never answered. A new connection that ends before its first answer is
    `unaccepted`: the kernel completes handshakes that the process never
    accepts, and resets them when the listener closes. From here the two cannot
    be told apart, so a process that dropped what it had just accepted would be
    counted there as well.
    """

    answers: List[Answer] = field(default_factory=list)
    seconds: List[float] = field(default_factory=list)
    lost: List[str] = field(default_factory=list)
    unaccepted: List[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, answer: Answer, seconds: float) -> None:
        with self.lock:
            self.answers.append(answer)
            self.seconds.append(seconds)

    def lose(self, reason: str, fresh: bool) -> None:
        with self.lock:
            (self.unaccepted if fresh else self.lost).append(reason)

    def statuses(self) -> dict:
        counts: dict = {}
        for answer in list(self.answers):
            counts[answer.status] = counts.get(answer.status, 0) + 1
        return counts

    def granted_ids(self) -> List[str]:
        return [answer.json()["mint_id"] for answer in list(self.answers) if answer.status == 200]


class Load:
    """Runs `call(client)` over and over in `threads` threads until told, or `times` each."""

    def __init__(
        self,
        connect: Callable[[], Client],
        call: Callable[[Client], Answer],
        threads: int = 4,
        times: Optional[int] = None,
    ) -> None:
        self.tally = Tally()
        self._connect = connect
        self._call = call
        self._times = times
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_exc: Any) -> None:
        self.stop()

    def stop(self) -> Tally:
        self._stop.set()
        return self.join()

    def join(self, timeout: float = 60) -> Tally:
        for thread in self._threads:
            thread.join(timeout)
            assert not thread.is_alive(), "a request hangs"
        return self.tally

    def _run(self) -> None:
        client: Optional[Client] = None
        done = 0
        fresh = True
        while not self._stop.is_set() and (self._times is None or done < self._times):
            try:
                if client is None:
                    client, fresh = self._connect(), True
                started = time.monotonic()
                answer = self._call(client)
                self.tally.add(answer, time.monotonic() - started)
                done += 1
                fresh = False
                if (answer.header("connection") or "").lower() == "close":
                    client.close()
                    client = None
            except ConnectionRefusedError:
                return  # Nobody listens any more: nothing was accepted, so nothing was lost.
            except (OSError, http.client.HTTPException) as error:
                self.tally.lose(f"{type(error).__name__}: {error}", fresh)
                return
        if client:
            client.close()
