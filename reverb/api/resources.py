"""What the API's resources have in common: routes, signatures, and no surprise."""

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
from reverb.api.replies import ApiError, Request, reply, reply_error
from reverb.apps import App
from reverb.hub.hub import Hub
from reverb.hub.rate_limit import RateLimit
from reverb.interfaces import IApps, IChannelStore, StoreRefusedError
from reverb.meter import Meter
from reverb.webhooks.interfaces import IWebhooks

_THIS_NODE_ONLY = (("Reverb-Reached", "this-node"),)


class ApiContext:
    """What the resources need to answer.

    Args:
        hub: Publishes and terminates.
        store: Answers what is true across nodes.
        apps: Finds apps.
        clock: Monotonic, for rate limits.
        now: The wall clock, in seconds since the epoch, for timestamps.
        path: Prefix of every route, empty or like ``/realtime``.
        tolerance: Seconds that a request's timestamp may be off.
        meter: That of the node; None to measure nothing.
        webhooks: What is delivered; None when no app has webhooks.
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
        """Count a request of an app.

        Raises:
            ApiError: With 429 when the app sends too many.
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
        """Check that a request is signed by an app's server.

        Raises:
            ApiError: It is not.
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
    """A route that answers in JSON; errors, unknown routes and wrong methods too.

    Attributes:
        methods: The methods that it understands.
    """

    _log = Logger()

    methods: ClassVar[tuple[str, ...]] = ()

    def getChild(self, path: bytes, request: Request) -> Resource:
        """Answer 404 on every route that is not there."""
        return NotFound()

    def render(self, request: Request) -> int:
        """Answer, sooner or later, whatever happens."""
        method = request.method.decode("latin-1")
        try:
            if method == "OPTIONS" and self.methods:
                self._options(request)
                return NOT_DONE_YET
            if self.methods and method not in self.methods:
                raise ApiError(
                    405,
                    f"{method[:20]} is not allowed here: use {' or '.join(self.methods)}",
                    {"Allow": self._allowed()},
                )
            answer = self.answer(request)
            if isinstance(answer, Deferred):
                self._wait(request, answer)
            else:
                self.send(request, answer)
        except Exception:  # noqa: BLE001 - the client gets an answer, the log the failure
            self._failed(Failure(), request)
        return NOT_DONE_YET

    def answer(self, request: Request) -> Any:
        """Say what to answer: something that becomes JSON, or a Deferred of it.

        Raises:
            ApiError: The request is refused.
        """
        raise NotImplementedError

    def _options(self, request: Request) -> None:
        request.respond(204, [("Allow", self._allowed())])

    def _allowed(self) -> str:
        return ", ".join((*self.methods, "OPTIONS"))

    def _wait(self, request: Request, answer: "Deferred[Any]") -> None:
        if not answer.called:
            gone: Deferred[Any] = request.notifyFinish()
            gone.addErrback(lambda _: None)  # _send_late and _failed see for themselves
        answer.addCallback(lambda result: self._send_late(request, result))
        answer.addErrback(self._failed, request)

    def _send_late(self, request: Request, answer: Any) -> None:
        # The client may have gone while the store was being asked.
        if request.channel is not None:
            self.send(request, answer)

    def send(self, request: Request, answer: Any) -> None:
        """Send what :meth:`answer` has said."""
        reply(request, 200, answer)

    def _failed(self, failure: Failure, request: Request) -> None:
        error = failure.value
        if isinstance(error, StoreRefusedError):  # The store has logged it.
            error = ApiError(500, "The server cannot use what it keeps of this; its log says more")
        if not isinstance(error, ApiError):
            self._log.failure(
                "answering {method} {path}", failure, method=request.method, path=request.path
            )
            error = ApiError(500, "The server failed to answer; this is its fault, not yours")
        if request.channel is not None:
            reply_error(request, error)


class NotFound(JsonResource):
    """Every route that is not there."""

    def answer(self, request: Request) -> Any:
        """Refuse."""
        path = request.path.decode("latin-1")[:200]
        raise ApiError(404, f"Not found: there is no route {path}")


class SignedResource(JsonResource):
    """A route that only an app's own server may use.

    Args:
        context: What resources need.
        app_id: Of the app that the route names; None where the signature's
            key names it.
    """

    def __init__(self, context: ApiContext, app_id: str | None) -> None:
        super().__init__()
        self.context = context
        self.app_id = app_id

    def answer(self, request: Request) -> Any:
        """Find the app, check the signature, then obey."""
        query = Query(request.uri.decode("latin-1").partition("?")[2])
        found = self._find_app(query)
        if found.called and isinstance(found.result, App):
            return self._check(found.result, request, query)  # There is nothing to wait for.
        return found.addCallback(self._check, request, query)

    def _find_app(self, query: Query) -> "Deferred[App | None]":
        apps = self.context.apps
        if self.app_id is not None:
            return apps.by_id(self.app_id)
        key = query.one("auth_key")
        if not key:
            raise ApiError(401, "Missing auth_key: every request must be signed")
        return apps.by_key(key)

    def _check(self, app: App | None, request: Request, query: Query) -> Any:
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
        result = self.handle(SignedRequest(app, query, body))
        return ensureDeferred(result) if isinstance(result, CoroutineType) else result

    def handle(self, call: "SignedRequest") -> Any:
        """Do what a signed request asks for: the answer, or a coroutine that returns it."""
        raise NotImplementedError


class PublishingResource(SignedResource):
    """A route by which an app's server reaches clients, on every node: it answers Published."""

    methods = ("POST",)

    def send(self, request: Request, answer: "PublishResult") -> None:
        """Answer; say so if only the clients of this node are reached."""
        reply(request, 200, answer.body, () if answer.all_nodes else _THIS_NODE_ONLY)


class PublishResult(NamedTuple):
    """What to answer to who has published something."""

    all_nodes: bool
    """Whether all of it goes to all nodes."""
    body: Any
    """Something that becomes JSON."""


class SignedRequest(NamedTuple):
    """A signed request."""

    app: App
    arguments: Query
    body: bytes
