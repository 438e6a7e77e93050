"""Receives the bodies of HTTP requests.

A handler checks the head of a request before the body is complete. So the server does not keep a
large body in memory if the request has no valid signature. The server keeps the body of an accepted
request in memory until the body is complete. :class:`BodyBudget` bounds the total size of the
incomplete bodies.
"""

from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from reverb.http import Answer, BodyHandler, Request, Response
from reverb.transport.http_response import make_error

Outcome = Response | Coroutine[Any, Any, Response]
"""A response, or a coroutine that returns a response."""


def apply_answer(answer: Answer | Coroutine[Any, Any, Answer], body: bytes) -> Outcome:
    """Return the response to a complete request, or a coroutine that returns the response.

    Args:
        answer: The result of the handler for the head of the request.
        body: The body of the request; empty if there is none.
    """
    if callable(answer):
        return answer(body)
    return answer if isinstance(answer, Response) else _apply_later(answer, body)


async def _apply_later(deciding: Coroutine[Any, Any, Answer], body: bytes) -> Response:
    outcome = apply_answer(await deciding, body)
    return outcome if isinstance(outcome, Response) else await outcome


class BodyBudget:
    """Bounds the total size of the bodies that are being received.

    While no other body is being received, a body of any size is admitted.

    Args:
        max_bytes: The maximum total size of the bodies in bytes; 0 for no limit.

    Attributes:
        reserved: The number of bytes that are now reserved for bodies.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self.reserved = 0

    def reserve(self, size: int, *, held: int = 0) -> bool:
        """Reserve bytes for a body; return False if the bytes would exceed the budget.

        Args:
            size: The number of bytes to reserve.
            held: The number of bytes that are already reserved for the same body.
        """
        others = self.reserved - held
        if self._max_bytes and others and self.reserved + size > self._max_bytes:
            return False
        self.reserved += size
        return True

    def release(self, size: int) -> None:
        """Release bytes that :meth:`reserve` has reserved."""
        self.reserved -= size


class BodyConnection(Protocol):
    """The part of :class:`reverb.transport.http.HttpChannel` that a body receiver uses."""

    bodies: BodyBudget

    def handle(self, request: Request) -> Answer | Coroutine[Any, Any, Answer]:
        """Pass the head of a request to the handler."""

    def refuse_with(self, response: Response) -> None:
        """Send a response to an incomplete request, and close the connection."""

    def send_continue(self) -> None:
        """Ask the client to send the body."""

    def pause_reading(self) -> None:
        """Stop reading from the connection."""

    def resume_reading(self) -> None:
        """Read from the connection again."""


class BodyReceiver:
    """Receives the body of one request, and passes the body to the handler.

    Args:
        connection: The connection on which the body arrives.
        request: The request.
        length: The announced length of the body in bytes; None for a body in chunks.
        max_bytes: The maximum size of the body in bytes; 0 for no limit.
        respond: Called once when the body is complete, with the response, or with a coroutine that
            returns the response. If the request is refused before the body is complete,
            ``respond`` is not called.
    """

    def __init__(
        self,
        connection: BodyConnection,
        request: Request,
        length: int | None,
        *,
        max_bytes: int,
        respond: Callable[[Outcome], None],
    ) -> None:
        self._connection = connection
        self._request = request
        self._length = length
        self._max_bytes = max_bytes
        self._respond = respond
        self._body = bytearray()
        self._held = 0
        self._deciding: Deferred[Answer] | None = None
        self._body_handler: BodyHandler | None = None
        self._closed = False

    @property
    def missing(self) -> int:
        """How many bytes of a body with an announced length have not been received yet."""
        return (self._length or 0) - len(self._body)

    def start(self, *, expects_continue: bool = False) -> None:
        """Pass the head to the handler, before the body is complete.

        The connection reads nothing until the handler has accepted or refused the head.

        Args:
            expects_continue: Whether to send ``100 Continue`` when the handler accepts the head.
        """
        if self._max_bytes and (self._length or 0) > self._max_bytes:
            self._refuse_large()
            return
        answer = self._connection.handle(self._request)
        if isinstance(answer, Coroutine):
            self._connection.pause_reading()
            self._deciding = Deferred.fromCoroutine(answer)
            self._deciding.addCallback(self._resume, expects_continue)
        else:
            self._decide(answer, expects_continue)

    def add(self, data: bytes) -> None:
        """Receive a part of the body; refuse the request if the body becomes too large."""
        if self._closed:
            return
        if self._max_bytes and len(self._body) + len(data) > self._max_bytes:
            self._refuse_large()
        elif self._body_handler is None or self._length is not None or self._reserve(len(data)):
            self._body += data

    def finish(self) -> None:
        """Pass the complete body to the handler, and the handler's result to ``respond``."""
        if self._closed:
            return
        body, respond = bytes(self._body), self._respond
        self.close()
        if self._body_handler is not None:
            respond(self._body_handler(body))
        elif self._deciding is not None:
            respond(_apply_later(_wait_for(self._deciding), body))
        else:
            respond(apply_answer(self._connection.handle(self._request), body))

    def close(self) -> None:
        """Drop the received bytes, and release the bytes that are reserved for the body."""
        self._closed = True
        self._body.clear()
        self._connection.bodies.release(self._held)
        self._held = 0
        self._respond = _ignore  # Break the reference cycle with the request.

    def _resume(self, answer: Answer, expects_continue: bool) -> Answer:
        if not self._closed:
            self._decide(answer, expects_continue)
        self._connection.resume_reading()
        return answer

    def _decide(self, answer: Answer, expects_continue: bool) -> None:
        if isinstance(answer, Response):
            self.close()
            self._connection.refuse_with(answer)
            return
        self._body_handler = answer
        size = len(self._body) if self._length is None else self._length
        if self._reserve(size) and expects_continue:
            self._connection.send_continue()

    def _reserve(self, size: int) -> bool:
        if self._connection.bodies.reserve(size, held=self._held):
            self._held += size
            return True
        self._refuse(
            503,
            "The server is receiving too many large requests at once: try again later",
            ("Retry-After", "1"),
        )
        return False

    def _refuse_large(self) -> None:
        self._refuse(
            413, f"The request's body exceeds the allowed maximum ({self._max_bytes} bytes)"
        )

    def _refuse(self, status: int, message: str, *headers: tuple[str, str]) -> None:
        self.close()
        self._connection.refuse_with(make_error(status, message, headers))


def _ignore(_: Outcome) -> None:
    """Do nothing; this function replaces the ``respond`` of a closed receiver."""


async def _wait_for(deciding: "Deferred[Answer]") -> Answer:
    return await deciding
