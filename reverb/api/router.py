"""Finds the function for a request by path and method, and makes a response of the result."""

from collections.abc import Callable, Coroutine, Iterable
from typing import Any, NamedTuple
from urllib.parse import unquote

from twisted.logger import Logger

from reverb.api.responses import ApiError, make_error_response, make_json_response
from reverb.http import Request, Response
from reverb.memoize import memoize_short_keys
from reverb.throttled_log import FailureLog

ANY_METHOD = "*"

Result = Response | dict[str, Any]
"""What a route's function returns: a response, or the content of a JSON response."""

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

        If a route of the endpoint accepts every method, return the function of that route.
        Otherwise, return for OPTIONS a function that lists the allowed methods.

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

    If a function raises an exception, the response is a JSON object with the error.

    Args:
        routes: The table of routes.
        context: The first argument of each function.
        prefix: The prefix of all paths: empty, or a path such as ``/realtime``.
    """

    def __init__(self, routes: Iterable[Route], context: object, prefix: str = "") -> None:
        endpoints: dict[str, _Endpoint] = {}
        for route in routes:
            pattern = prefix + route.pattern
            endpoints.setdefault(pattern, _Endpoint(pattern)).add(route)
        self._endpoints = tuple(endpoints.values())
        self._context = context
        self._log = FailureLog(Logger())
        self._find = memoize_short_keys(self._match, max_entries=1024, max_length=200)

    def handle(self, request: Request) -> Response | Coroutine[Any, Any, Response]:
        """Handle a request. This method is a :data:`reverb.http.Handler`."""
        try:
            result = self._call_function(request)
            if isinstance(result, dict):
                return make_json_response(result)
        except Exception as error:  # noqa: BLE001 - the client gets a response, the log the failure
            return make_error_response(error, request, self._log)
        return result if isinstance(result, Response) else self._complete(result, request)

    async def _complete(self, running: Coroutine[Any, Any, Result], request: Request) -> Response:
        try:
            content = await running
            return content if isinstance(content, Response) else make_json_response(content)
        except Exception as error:  # noqa: BLE001 - the client gets a response, the log the failure
            return make_error_response(error, request, self._log)

    def _call_function(self, request: Request) -> Result | Coroutine[Any, Any, Result]:
        found = self._find(request.path)
        if found is None:
            raise ApiError(404, f"Not found: no route {request.path[:200]}")
        endpoint, parameters = found
        method = request.method
        function = endpoint.functions.get(method) or endpoint.fallback(method)
        return function(self._context, request, **parameters)

    def _match(self, path: str) -> tuple[_Endpoint, dict[str, str]] | None:
        """Return the endpoint of a path with the path's parameters, or None for an unknown path."""
        segments = [unquote(segment) for segment in path.split("/")]
        for endpoint in self._endpoints:
            parameters = endpoint.match(segments)
            if parameters is not None:
                return endpoint, parameters
        return None
