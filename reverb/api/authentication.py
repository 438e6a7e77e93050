"""Authenticates API requests: finds the app, checks the signature and the app's rate limit."""

from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from reverb.api.parameters import Parameters, read_parameters
from reverb.api.responses import ApiError
from reverb.api.signature import check_body, check_signature
from reverb.apps import App
from reverb.http import Request
from reverb.hub.rate_limit import RateLimit
from reverb.interfaces import IApps
from reverb.meter import Meter
from reverb.query import decode_query


class SignedHead(NamedTuple):
    """The app and the parameters of a request with a valid signature, before its body is read."""

    app: App
    query: Parameters
    """The parameters in the query, as the client signed them."""


class SignedRequest(NamedTuple):
    """A request whose signature is valid, with the body that the client signed."""

    app: App
    query: Parameters
    """The parameters in the query, as the client signed them."""
    body: bytes


class Authenticator:
    """Authenticates requests.

    Args:
        apps: Finds apps by id and by key.
        clock: A monotonic clock, for rate limits.
        now: Returns the wall clock's time in seconds since 1970.
        prefix: The prefix of every route: empty, or a path such as ``/realtime``.
        tolerance: Seconds by which a request's timestamp may differ from ``now()``.
        meter: The node's meter.
    """

    def __init__(
        self,
        *,
        apps: IApps,
        clock: IReactorTime,
        now: Callable[[], float],
        prefix: str,
        tolerance: int,
        meter: Meter,
    ) -> None:
        self._apps = apps
        self._clock = clock
        self._now = now
        self._prefix = prefix
        self._tolerance = tolerance
        self._meter = meter
        self._rates: dict[str, RateLimit] = {}

    def authenticate(
        self, request: Request, app_id: str | None
    ) -> SignedHead | Coroutine[Any, Any, SignedHead]:
        """Find the app of a request, and check the request's signature and the app's rate limit.

        Args:
            request: The request.
            app_id: The app's id from the path; None if the query's ``auth_key`` identifies the app.

        Returns:
            The signed head if ``apps`` finds the app at once; otherwise a coroutine that returns
            the signed head.

        Raises:
            ApiError: No app has this id or key, the app is disabled, the signature is invalid, or
                the app exceeds its rate limit. The coroutine may raise an ApiError too.
        """
        parameters = read_parameters(decode_query(request.query))
        found = self._find_app(parameters, app_id)
        if found.called and isinstance(found.result, App):
            return self._verify(found.result, request, parameters)  # No need to wait.
        return self._verify_when_found(found, request, parameters, app_id)

    def receive_body(self, head: SignedHead, body: bytes) -> SignedRequest:
        """Check that a request's body is the one that the client signed.

        Raises:
            ApiError: With 401 if the client signed another body.
        """
        try:
            check_body(head.query, body)
        except ApiError:
            self._count_failure(head.app)
            raise
        return SignedRequest(head.app, head.query, body)

    def _find_app(self, parameters: Parameters, app_id: str | None) -> "Deferred[App | None]":
        if app_id is not None:
            return self._apps.by_id(app_id)
        key = parameters.get("auth_key")
        if not key:
            raise ApiError(401, "Missing auth_key: every request must be signed")
        return self._apps.by_key(key)

    async def _verify_when_found(
        self,
        found: "Deferred[App | None]",
        request: Request,
        parameters: Parameters,
        app_id: str | None,
    ) -> SignedHead:
        app = await found
        if app is not None:
            return self._verify(app, request, parameters)
        if app_id is None:
            raise ApiError(400, "Unknown auth_key: no app has this key")
        raise ApiError(404, f"No app has the id {app_id[:100]!r}")

    def _verify(self, app: App, request: Request, parameters: Parameters) -> SignedHead:
        try:
            signed = check_signature(
                app,
                request,
                parameters,
                prefix=self._prefix,
                now=self._now(),
                tolerance=self._tolerance,
            )
        except ApiError:
            self._count_failure(app)
            raise
        if not app.enabled:
            raise ApiError(403, f"App {app.id} is disabled")
        self._check_rate(app)
        return SignedHead(app, signed)

    def _count_failure(self, app: App) -> None:
        """Count a request with an invalid signature in the app's metrics."""
        self._meter.apps[app.id].auth_failures["api"] += 1

    def _check_rate(self, app: App) -> None:
        """Count a request of an app, and refuse the request if the app exceeds its rate limit."""
        if not app.api_requests_per_second:
            return
        rate = self._rates.setdefault(app.id, RateLimit(app.api_requests_per_second))
        rate.per_second = app.api_requests_per_second  # The app may have been changed.
        if not rate.allow(self._clock.seconds()):
            self._meter.apps[app.id].limit_hits["api_requests_per_second"] += 1
            raise ApiError(
                429,
                f"Too many requests: the app may send {rate.per_second} per second",
                {"Retry-After": "1"},
            )
