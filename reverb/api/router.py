"""Calls the function for a request's path and method, and responds with the function's result."""

from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

from twisted.logger import Logger

from reverb.api.responses import ApiError, make_error_response, make_json_response
from reverb.http import Answer, Request, Response
from reverb.memoize import memoize_short_keys
from reverb.query import percent_decode
from reverb.throttled_log import FailureLog

ANY_METHOD = "*"
_MAX_PATH = 4096
"""The most characters of a path. A channel's name may have 200 characters, and clients may
percent-encode each character as three."""

Content = Response | dict[str, Any]
"""A response, or the value that the router sends as the body of a JSON response."""

BodyFunction = Callable[[bytes], Content | Coroutine[Any, Any, Content]]
"""A function that a route's function returns if it needs the request's body. The router calls the
body function with the body. The body function returns the content, or a coroutine that returns the
content. Both may raise an exception."""

Result = Content | BodyFunction
"""The result of a route's function: the content if it does not need the request's body, otherwise
a body function."""

RouteFunction = Callable[..., Result | Coroutine[Any, Any, Result]]
"""A route's function. The router calls it with the context and the request, and passes the path's
parameters as keyword arguments. The function returns the result, or a coroutine that returns the
result. The function and the coroutine may raise an exception."""


class Route(NamedTuple):
    """One row of a table of routes."""

    method: str
    """An HTTP method, or :data:`ANY_METHOD`. ``GET`` includes HEAD."""
    pattern: str
    """A path. A segment in braces is a parameter, which matches one segment of any text, even an
    empty one. A final ``/**`` matches the path before it and all paths below."""
    function: RouteFunction


class _Endpoint:
    """All routes that have the same pattern.

    Attributes:
        functions: The functions of the routes, by HTTP method.
    """

    def __init__(self, pattern: str) -> None:
        self._segments = pattern.removesuffix("/**").split("/")
        self._includes_paths_below = pattern.endswith("/**")
        self.functions: dict[str, RouteFunction] = {}

    def add(self, route: Route) -> None:
        """Add a route that has this endpoint's pattern."""
        self.functions[route.method] = route.function
        if route.method == "GET":
            self.functions["HEAD"] = route.function

    def match(self, segments: list[str]) -> dict[str, str] | None:
        """Return the parameters of a path, or None if the path does not match.

        Args:
            segments: The percent-decoded segments of the path.
        """
        surplus = len(segments) - len(self._segments)
        if surplus < 0 or (surplus > 0 and not self._includes_paths_below):
            return None
        parameters = {}
        for expected, segment in zip(self._segments, segments, strict=False):
            if expected[:1] == "{":
                parameters[expected[1:-1]] = segment
            elif expected != segment:
                return None
        return parameters

    def fallback(self, method: str) -> RouteFunction:
        """Return the function for a method that is not in ``functions``.

        If a route of the endpoint accepts every method, return the function of that route. If no
        route accepts every method, return for OPTIONS a function that lists the allowed methods.

        Raises:
            ApiError: With 405 and the allowed methods if the method is not allowed.
        """
        if ANY_METHOD in self.functions:
            return self.functions[ANY_METHOD]
        if method == "OPTIONS":
            return self._show_methods
        raise ApiError(
            405,
            f"{method[:20]} is not allowed here: use {' or '.join(self.functions)}",
            {"Allow": self._allowed_methods()},
        )

    def _show_methods(self, _context: object, _request: Request, **_parameters: str) -> Response:
        return Response(204, (("Allow", self._allowed_methods()),))

    def _allowed_methods(self) -> str:
        return ", ".join((*self.functions, "OPTIONS"))


class Router:
    """Handles requests with the functions of a table of routes.

    If a route's function raises an exception, the response is a JSON object with the error.

    Args:
        routes: The table of routes.
        context: The first argument of each route's function.
        prefix: The prefix of all paths: empty, or a path such as ``/realtime``.
        unprefixed: Further routes, whose patterns are whole paths.
    """

    def __init__(
        self,
        routes: Iterable[Route],
        context: object,
        prefix: str = "",
        *,
        unprefixed: Iterable[Route] = (),
    ) -> None:
        endpoints: dict[str, _Endpoint] = {}
        prefixed = (Route(method, prefix + path, function) for method, path, function in routes)
        for route in chain(prefixed, unprefixed):
            endpoints.setdefault(route.pattern, _Endpoint(route.pattern)).add(route)
        self._endpoints = tuple(endpoints.values())
        self._max_segments = max((pattern.count("/") for pattern in endpoints), default=0) + 1
        self._context = context
        self._log = FailureLog(Logger())
        self._find = memoize_short_keys(self._match, max_entries=1024, max_length=200)

    def handle(self, request: Request) -> Answer | Coroutine[Any, Any, Answer]:
        """Call the function of a request's route; this method is a :data:`reverb.http.Handler`."""
        try:
            result = self._call_function(request)
            if callable(result):
                return partial(self._handle_body, result, request)
            if isinstance(result, (Response, dict)):
                return _respond(result)
        except Exception as error:  # noqa: BLE001 - the client gets a response, the log the failure
            return make_error_response(error, request, self._log)
        return self._complete(result, request)

    def _call_function(self, request: Request) -> Result | Coroutine[Any, Any, Result]:
        if len(request.path) > _MAX_PATH:
            raise ApiError(414, f"The path is longer than {_MAX_PATH} characters")
        found = self._find(request.path)
        if found is None:
            raise ApiError(404, f"Not found: no route {request.path[:200]}")
        endpoint, parameters = found
        method = request.method
        function = endpoint.functions.get(method) or endpoint.fallback(method)
        return function(self._context, request, **parameters)

    def _match(self, path: str) -> tuple[_Endpoint, dict[str, str]] | None:
        """Return the endpoint of a path with the path's parameters, or None for an unknown path."""
        # The rest of a path with more segments than any pattern stays one segment.
        segments = list(map(percent_decode, path.split("/", self._max_segments)))
        for endpoint in self._endpoints:
            parameters = endpoint.match(segments)
            if parameters is not None:
                return endpoint, parameters
        return None

    def _answer(self, result: Result, request: Request) -> Answer:
        return partial(self._handle_body, result, request) if callable(result) else _respond(result)

    async def _complete(self, running: Coroutine[Any, Any, Result], request: Request) -> Answer:
        try:
            return self._answer(await running, request)
        except Exception as error:  # noqa: BLE001 - the client gets a response, the log the failure
            return make_error_response(error, request, self._log)

    def _handle_body(
        self, function: BodyFunction, request: Request, body: bytes
    ) -> Response | Coroutine[Any, Any, Response]:
        """Call a body function with the request's body, and return the response."""
        try:
            content = function(body)
            if isinstance(content, (Response, dict)):
                return _respond(content)
        except Exception as error:  # noqa: BLE001 - the client gets a response, the log the failure
            return make_error_response(error, request, self._log)
        return self._await_content(content, request)

    async def _await_content(
        self, running: Coroutine[Any, Any, Content], request: Request
    ) -> Response:
        try:
            return _respond(await running)
        except Exception as error:  # noqa: BLE001 - the client gets a response, the log the failure
            return make_error_response(error, request, self._log)


def _respond(content: Content) -> Response:
    return content if isinstance(content, Response) else make_json_response(content)
