"""The broker mints and proxies nothing: whatever a request asks for elsewhere, it does not fetch."""
from __future__ import annotations

import socket
import threading
from typing import Iterator, List

import pytest

from raw_http import RawConnection


class Elsewhere:
    """Another server, which counts who comes."""

    def __init__(self) -> None:
        self.visits: List[object] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = self._listener.getsockname()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                visitor, who = self._listener.accept()
            except OSError:
                return
            self.visits.append(who)
            with visitor:
                visitor.recv(65536)
                visitor.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndata")

    def close(self) -> None:
        """Ends the thread before the socket: it would go on accepting whatever gets the number of this one next."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._listener.close()


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    server = Elsewhere()
    yield server
    server.close()


@pytest.mark.parametrize(
    "head",
    [
        "GET http://{elsewhere}/object HTTP/1.1\r\nHost: {elsewhere}",
        "CONNECT {elsewhere} HTTP/1.1\r\nHost: {elsewhere}",
        "GET /object HTTP/1.1\r\nHost: {elsewhere}",
        "PUT /agentkeys-mail/bots/0x1/object HTTP/1.1\r\nHost: {broker}\r\nX-Forwarded-Host: {elsewhere}\r\nContent-Length: 0",
        "GET /v1/session HTTP/1.1\r\nHost: {broker}\r\nX-Original-URL: http://{elsewhere}/\r\nForwarded: host={elsewhere}",
    ],
    ids=["absolute form", "CONNECT", "another host", "an object", "headers of proxies"],
)
def test_nothing_that_is_asked_for_elsewhere_is_fetched(shared_broker, elsewhere, head):
    token = shared_broker.token()
    lines = head.format(elsewhere="%s:%d" % elsewhere.address, broker=f"127.0.0.1:{shared_broker.port}")
    asked = RawConnection("127.0.0.1", shared_broker.port)
    asked.send(f"{lines}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n".encode())
    answer = asked.answer()
    # What is the broker's own is answered by the broker; all else is refused.
    assert answer and (answer.status == 200 if "/v1/session" in head else 400 <= answer.status < 500), answer
    assert answer.body != b"data" and elsewhere.visits == []
    # The other server is there: asked directly it answers.
    direct = RawConnection(*elsewhere.address)
    direct.send(b"GET / HTTP/1.1\r\n\r\n")
    found = direct.answer()
    assert found and found.body == b"data"
