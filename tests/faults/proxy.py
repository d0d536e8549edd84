"""A TCP proxy that harms what passes through it: late, cut, refused, mute, or gone without a word."""

import ctypes
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Self

CHUNK = 65_536
_SO_ATTACH_FILTER, _SO_DETACH_FILTER = 26, 27


class _Pair:
    """One connection and the one behind it."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client, self.server = client, server
        self.doomed = False

    def reset(self) -> None:
        """End both with RST, as when a machine dies or a firewall forgets them."""
        for end in (self.client, self.server):
            with suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.shutdown(socket.SHUT_RDWR)
            end.close()


class Proxy:
    """Listens on a port of 127.0.0.1 and passes everything on to another, until told otherwise.

    `latency_s` delays every chunk, each way. `cut_at` ends the next connection whose client says these bytes: before
    they are passed on, or with `after` once the server has answered them, which the client then never learns.
    """

    def __init__(self, port: int, *, host: str = "127.0.0.1") -> None:
        self._behind = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self.latency_s = 0.0
        self.cuts = 0
        self._cut_at: tuple[bytes, bool] | None = None
        self._pairs: list[_Pair] = []
        self._lock = threading.Lock()
        self._open = threading.Event()
        self._open.set()
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.set()
        self._close()
        self.cut()

    def _close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # a close alone would leave whoever accepts waiting
        self._listener.close()

    def cut(self) -> int:
        """Reset every connection; new ones are welcome. How many there were."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            pair.reset()
        return len(pairs)

    def cut_at(self, said: bytes, *, after: bool = False) -> None:
        """Reset the next connection whose client says these bytes; `cuts` counts how often that happened."""
        self._cut_at = (said, after)

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Nobody listens any more, and every connection is reset."""
        self._close()
        self.cut()
        try:
            yield
        finally:
            self._listener = socket.create_server(("127.0.0.1", self.port), backlog=128)
            threading.Thread(target=self._accept, daemon=True).start()

    @contextmanager
    def mute(self) -> Iterator[None]:
        """Connections stand and are acknowledged, and nothing passes: a server that hangs."""
        self._open.clear()
        try:
            yield
        finally:
            self._open.set()

    @contextmanager
    def blackhole(self) -> Iterator[None]:
        """No packet arrives or is acknowledged, on old connections and new ones: a cable that was pulled.

        By a socket filter that drops every segment before TCP sees it, which needs no privilege but Linux.
        """
        assert sys.platform == "linux", "the blackhole needs Linux"
        self._open.clear()
        with self._lock:
            deaf = [self._listener, *(pair.client for pair in self._pairs)]
        for end in deaf:
            _drop_everything(end)
        try:
            yield
        finally:
            for end in deaf:
                with suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
            self._open.set()

    def _accept(self) -> None:
        listener = self._listener
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._behind, timeout=5)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            pair = _Pair(client, server)
            with self._lock:
                self._pairs.append(pair)
            for source, to in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(pair, source, to), daemon=True).start()

    def _pump(self, pair: _Pair, source: socket.socket, to: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(CHUNK):
                self._open.wait()
                if self.latency_s:
                    time.sleep(self.latency_s)
                if source is pair.client:
                    if self._is_last_word(pair, data):
                        break
                elif pair.doomed:
                    break
                to.sendall(data)
        pair.reset()
        with self._lock, suppress(ValueError):
            self._pairs.remove(pair)

    def _is_last_word(self, pair: _Pair, data: bytes) -> bool:
        """True when the connection must end before these bytes are passed on."""
        if self._cut_at is None or self._cut_at[0] not in data:
            return False
        _, after = self._cut_at
        self._cut_at = None
        self.cuts += 1
        pair.doomed = True
        return not after


def _drop_everything(end: socket.socket) -> None:
    """Attach the classic BPF program `ret #0` (man 7 socket, SO_ATTACH_FILTER)."""
    program = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0))
    end.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", 1, ctypes.addressof(program)))
