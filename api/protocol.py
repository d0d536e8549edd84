"""HTTP/1.1 as Uvicorn speaks it, with an end to everything: how long a head is, how long a request or an answer takes.

Uvicorn alone waits for ever for the rest of a head or a body, and keeps a head of any length in memory.
"""

import json
from asyncio import BaseTransport, TimerHandle
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES = 65_536
HEAD_SECONDS = 10.0
BODY_SECONDS = 75.0
"""Longer than BodyLimit waits, which answers 408; this ends what nobody is reading any more."""
STALLED_SECONDS = 60.0
"""How long an answer waits for a client that reads nothing of it."""
LOOK_SECONDS = 5.0


class _HeadTooLargeError(Exception):
    pass


class GuardedProtocol(HttpToolsProtocol):
    """One connection. A deadline that has passed cuts it; what cannot be parsed is answered with a problem document."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._read_by: float | None = None
        self._written_by: float | None = None
        self._in_head = True
        self._received = self._counted = 0
        self._looking: TimerHandle | None = None

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        self._read_by = self.loop.time() + HEAD_SECONDS
        self._look_later()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._looking is not None:
            self._looking.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        # What comes before the answer is out, a stray line end or the next head, is not waited for yet.
        if self._read_by is None and (self.cycle is None or self.cycle.response_complete):
            self._read_by = self.loop.time() + HEAD_SECONDS
        self._received += len(data)
        super().data_received(data)
        # Lines that are whole were counted by the parser's calls; one without an end, of a head or a trailer, is
        # noticed here.
        if self._received > HEAD_BYTES and not self.transport.is_closing():
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the head of the request is too large")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        self._received = self._counted = 0

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value))
        if self._in_head:  # a trailer is no header: it comes after everybody has looked at those
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()
        # A request whose turn has not come is not read: its time begins with on_response_complete.
        self._read_by = None if self.pipeline else self.loop.time() + BODY_SECONDS

    def on_body(self, body: bytes) -> None:
        self._received = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._received, self._read_by = 0, None
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._read_by is None and self.cycle.more_body and not self.pipeline:
            self._read_by = self.loop.time() + BODY_SECONDS

    def pause_writing(self) -> None:
        self._written_by = self.loop.time() + STALLED_SECONDS
        super().pause_writing()

    def resume_writing(self) -> None:
        self._written_by = None
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Called for whatever the parser refuses."""
        if self._counted > HEAD_BYTES:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the head of the request is too large")
        else:
            self._refuse(HTTPStatus.BAD_REQUEST, msg)

    def _count(self, length: int) -> None:
        self._counted += length
        if self._counted > HEAD_BYTES:
            raise _HeadTooLargeError

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        problem = {
            "type": "about:blank",
            "title": status.phrase,
            "status": status,
            "detail": detail,
            "errors": [],
        }
        body = json.dumps(problem).encode()
        lines = [
            f"HTTP/1.1 {status.value} {status.phrase}",
            "content-type: application/problem+json",
            f"content-length: {len(body)}",
            "x-content-type-options: nosniff",
            "cache-control: no-store",
            "connection: close",
        ]
        self.transport.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        self.transport.close()

    def _look_later(self) -> None:
        self._looking = self.loop.call_later(LOOK_SECONDS, self._look)

    def _look(self) -> None:
        now = self.loop.time()
        if any(by is not None and by < now for by in (self._read_by, self._written_by)):
            self.transport.abort()
        else:
            self._look_later()
