"""A port in front of another one, which can go away, come back, and change what passes."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable

Rewrite = Callable[[bytes], bytes]


def unchanged(data: bytes) -> bytes:
    return data


class Forwarder:
    """Listens on a free port of ``host`` and forwards to ``port`` of this machine, between :meth:`open` and ``close``.

    Args:
        port: where the real server listens.
        asked: changes each piece that clients send.
        answered: changes each piece that the server sends.
        host: where to listen; ``0.0.0.0`` can be reached from elsewhere.
    """

    def __init__(
        self, port: int, *, asked: Rewrite = unchanged, answered: Rewrite = unchanged, host: str = "127.0.0.1"
    ) -> None:
        self.target, self.asked, self.answered, self.host = port, asked, answered, host
        self.port = 0
        self.pairs: list[socket.socket] = []
        self.open()

    def __enter__(self) -> Forwarder:
        return self

    def __exit__(self, *fault: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def open(self) -> None:
        """Listen, on the same port as before."""
        self.server = socket.create_server((self.host, self.port))
        self.port = self.server.getsockname()[1]
        threading.Thread(target=self._accept, args=(self.server,), daemon=True).start()

    def close(self) -> None:
        """Refuse new connections and reset those that there are."""
        with contextlib.suppress(OSError):
            self.server.shutdown(socket.SHUT_RDWR)
        self.server.close()
        for one in self.pairs:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self.pairs.clear()

    def _accept(self, server: socket.socket) -> None:
        while True:
            try:
                client, _ = server.accept()
                behind = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                return  # closed
            self.pairs += [client, behind]
            for source, sink, change in ((client, behind, self.asked), (behind, client, self.answered)):
                threading.Thread(target=self._pump, args=(source, sink, change), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, change: Rewrite) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(change(data))
        for one in (source, sink):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
