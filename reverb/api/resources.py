"""Base classes of the API's resources: JSON responses, errors, signatures and rate limits."""

from collections.abc import Callable
from types import CoroutineType
from typing import Any, ClassVar, NamedTuple

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from reverb.api.authentication import check_signature
from reverb.api.query import Query
from reverb.api.responses import ApiError, Request, send_error, send_json
from reverb.apps import App
from reverb.hub.hub import Hub
from reverb.hub.rate_limit import RateLimit
from reverb.interfaces import IApps, IChannelStore, StoreRefusedError
from reverb.meter import Meter
from reverb.webhooks.interfaces import IWebhooks

_THIS_NODE_ONLY = (("Reverb-Reached", "this-node"),)


class ApiContext:
    """The services and settings that the resources share.

    Args:
        hub: Publishes events and terminates connections.
        store: Knows the channels and connections of all nodes.
        apps: Finds apps by id and by key.
        clock: A monotonic clock, for rate limits.
        now: Returns the wall clock's time in seconds since 1970, for timestamps.
        path: The prefix of every route: empty, or a path such as ``/realtime``.
        tolerance: Seconds by which a request's timestamp may differ from ``now()``.
        meter: The node's meter, or None if metrics are disabled.
        webhooks: The node's webhooks, or None if no app has any.
    """

    def __init__(
        self,
        *,
        hub: Hub,
        store: IChannelStore,
        apps: IApps,
        clock: IReactorTime,
        now: Callable[[], float],
        path: str,
        tolerance: int,
        meter: Meter | None = None,
        webhooks: IWebhooks | None = None,
    ) -> None:
        self.hub = hub
        self.store = store
        self.apps = apps
        self.clock = clock
        self.now = now
        self.path = path
        self.tolerance = tolerance
        self.webhooks = webhooks
        self._meter = meter
        self._rates: dict[str, RateLimit] = {}

    def check_rate(self, app: App) -> None:
        """Count a request against the app's rate limit.

        Raises:
            ApiError: With 429 if the request exceeds the limit.
        """
        if not app.api_requests_per_second:
            return
        rate = self._rates.setdefault(app.id, RateLimit(app.api_requests_per_second))
        if not rate.allow(self.clock.seconds()):
            if self._meter is not None:
                self._meter.apps[app.id].limit_hits["api_requests_per_second"] += 1
            raise ApiError(
                429,
                f"Too many requests: the app may send {rate.per_second} per second",
                {"Retry-After": "1"},
            )

    def check_signature(self, app: App, request: Request, query: Query, body: bytes) -> None:
        """Check that a request is signed with the app's secret, and count a failure.

        Raises:
            ApiError: With 400 or 401; see :func:`reverb.api.authentication.check_signature`.
        """
        try:
            check_signature(
                app,
                method=request.method.decode("latin-1"),
                path=request.path.decode("latin-1"),
                prefix=self.path,
                query=query,
                body=body,
                now=self.now(),
                tolerance=self.tolerance,
            )
        except ApiError:
            if self._meter is not None:
                self._meter.apps[app.id].auth_failures["api"] += 1
            raise


class JsonResource(Resource):
    """A route that responds with JSON, also to errors, unknown paths and wrong methods.

    Attributes:
        methods: The HTTP methods that the route supports. If it is empty, every method
            is passed to :meth:`handle`.
    """

    _log = Logger()

    methods: ClassVar[tuple[str, ...]] = ()

    def getChild(self, path: bytes, request: Request) -> Resource:
        """Return a resource that responds with 404, as the path is unknown."""
        return NotFound()

    def render(self, request: Request) -> int:
        """Handle a request and send one response, at once or when :meth:`handle`'s Deferred fires.

        An unexpected failure is logged, and becomes a response with status 500.
        """
        method = request.method.decode("latin-1")
        try:
            if method == "OPTIONS" and self.methods:
                self._send_options(request)
                return NOT_DONE_YET
            if self.methods and method not in self.methods:
                raise ApiError(
                    405,
                    f"{method[:20]} is not allowed here: use {' or '.join(self.methods)}",
                    {"Allow": self._allowed_methods()},
                )
            result = self.handle(request)
            if isinstance(result, Deferred):
                self._send_when_fired(request, result)
            else:
                self.send(request, result)
        except Exception:  # noqa: BLE001 - the client gets a response, the log the failure
            self._send_failure(Failure(), request)
        return NOT_DONE_YET

    def handle(self, request: Request) -> Any:
        """Handle a request.

        Returns:
            The content of the response, to be passed to :meth:`send`, or a Deferred that fires
            with the content.

        Raises:
            ApiError: The request is refused.
        """
        raise NotImplementedError

    def _send_options(self, request: Request) -> None:
        request.respond(204, [("Allow", self._allowed_methods())])

    def _allowed_methods(self) -> str:
        return ", ".join((*self.methods, "OPTIONS"))

    def _send_when_fired(self, request: Request, result: "Deferred[Any]") -> None:
        if not result.called:
            finished: Deferred[Any] = request.notifyFinish()
            # Ignore the failure: the callbacks below check whether the client is still connected.
            finished.addErrback(lambda _: None)
        result.addCallback(lambda content: self._send_late(request, content))
        result.addErrback(self._send_failure, request)

    def _send_late(self, request: Request, content: Any) -> None:
        # The client may have disconnected before the store replied.
        if request.channel is not None:
            self.send(request, content)

    def send(self, request: Request, content: Any) -> None:
        """Send a response with the content that :meth:`handle` returned."""
        send_json(request, 200, content)

    def _send_failure(self, failure: Failure, request: Request) -> None:
        error = failure.value
        if isinstance(error, StoreRefusedError):  # The store has logged it.
            error = ApiError(500, "The server's stored data is unusable: see the server's log")
        if not isinstance(error, ApiError):
            self._log.failure(
                "failed to handle {method} {path}",
                failure,
                method=request.method,
                path=request.path,
            )
            error = ApiError(500, "Internal server error: see the server's log")
        if request.channel is not None:
            send_error(request, error)


class NotFound(JsonResource):
    """A path that is not a route itself, but may be the parent of routes."""

    def handle(self, request: Request) -> Any:
        """Refuse the request with 404."""
        path = request.path.decode("latin-1")[:200]
        raise ApiError(404, f"Not found: no route {path}")


class SignedResource(JsonResource):
    """A route that requires a signature with the app's secret.

    Args:
        context: The services and settings that the resources share.
        app_id: The app's id from the path, or None where ``auth_key`` identifies the app.
    """

    def __init__(self, context: ApiContext, app_id: str | None) -> None:
        super().__init__()
        self.context = context
        self.app_id = app_id

    def handle(self, request: Request) -> Any:
        """Find the app, check the signature and the rate limit, then handle the signed request."""
        query = Query(request.uri.decode("latin-1").partition("?")[2])
        found = self._find_app(query)
        if found.called and isinstance(found.result, App):
            return self._verify_and_handle(found.result, request, query)  # No need to wait.
        return found.addCallback(self._verify_and_handle, request, query)

    def _find_app(self, query: Query) -> "Deferred[App | None]":
        apps = self.context.apps
        if self.app_id is not None:
            return apps.by_id(self.app_id)
        key = query.get("auth_key")
        if not key:
            raise ApiError(401, "Missing auth_key: every request must be signed")
        return apps.by_key(key)

    def _verify_and_handle(self, app: App | None, request: Request, query: Query) -> Any:
        if app is None:
            if self.app_id is None:
                raise ApiError(400, "Unknown auth_key: no app has this key")
            raise ApiError(404, f"No app has the id {self.app_id[:100]!r}")
        context = self.context
        body = request.content.read()
        context.check_signature(app, request, query, body)
        if not app.enabled:
            raise ApiError(403, f"App {app.id} is disabled")
        context.check_rate(app)
        result = self.handle_signed(SignedRequest(app, query, body))
        return ensureDeferred(result) if isinstance(result, CoroutineType) else result

    def handle_signed(self, request: "SignedRequest") -> Any:
        """Handle a request whose signature is valid, from an app that is enabled.

        Returns:
            The content of the response, or a coroutine that returns the content.

        Raises:
            ApiError: The request is refused.
        """
        raise NotImplementedError


class PublishingResource(SignedResource):
    """A route that reaches clients on all nodes.

    Its :meth:`handle_signed` returns a :class:`PublishResult`, or a coroutine that returns one.
    """

    methods = ("POST",)

    def send(self, request: Request, content: "PublishResult") -> None:
        """Send the response, with a header if only this node's clients were reached."""
        send_json(request, 200, content.body, () if content.all_nodes else _THIS_NODE_ONLY)


class PublishResult(NamedTuple):
    """The outcome of a request that publishes."""

    all_nodes: bool
    """Whether everything that the request publishes was sent to all nodes."""
    body: Any
    """The content of the response, which is then encoded as JSON."""


class SignedRequest(NamedTuple):
    """A request whose signature is valid, with the app that signed it."""

    app: App
    query: Query
    body: bytes
