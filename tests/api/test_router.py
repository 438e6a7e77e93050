"""The router: which function a request reaches, and what becomes of its result."""

import pytest
from twisted.internet.defer import Deferred

from reverb.api.responses import ApiError
from reverb.api.router import ANY_METHOD, Route, Router
from reverb.http import Response, make_request
from reverb.interfaces import StoreRefusedError
from reverb.webhooks.interfaces import ClusterStoreLostError


def show(context, request, **parameters):
    return {"context": context, "path": request.path, **parameters}


def make_router(*routes, prefix=""):
    return Router([Route(*route) for route in routes], "the context", prefix)


def handle(router, method, path):
    return router.handle(make_request(method.encode(), path.encode(), b"", has_body=False))


def run(coroutine):
    """Return what a coroutine returns that does not wait."""
    with pytest.raises(StopIteration) as stopped:
        coroutine.send(None)
    return stopped.value.value


def body(response):
    return response.body.decode()


class TestPaths:
    @pytest.mark.parametrize(
        ("pattern", "path", "parameters"),
        [
            ("/up", "/up", ""),
            ("/up", "/%75p", ""),
            ("/a/{b}", "/a/x", ',"b":"x"'),
            ("/a/{b}", "/a/", ',"b":""'),
            ("/a/{b}", "/a/x%2Fy%20z", ',"b":"x/y z"'),
            ("/a/{b}", "/a/%2525", ',"b":"%25"'),
            ("/a/{b}", "/a/%FF", ',"b":"\ufffd"'),
            ("/a/{b}/c/{d}", "/a/1/c/2", ',"b":"1","d":"2"'),
            ("/a/**", "/a", ""),
            ("/a/**", "/a/", ""),
            ("/a/**", "/a/b/c", ""),
        ],
    )
    def test_a_path_that_matches(self, pattern, path, parameters):
        response = handle(make_router(("GET", pattern, show)), "GET", path)

        assert body(response) == f'{{"context":"the context","path":"{path}"{parameters}}}'

    @pytest.mark.parametrize(
        ("pattern", "path"),
        [
            ("/up", "/"),
            ("/up", "/up/"),
            ("/up", "//up"),
            ("/up", "/UP"),
            ("/up", "up"),
            ("/up", "xup"),
            ("/up", "*"),
            ("/up", "http://x/up"),
            ("/a/{b}", "/a"),
            ("/a/{b}", "/a/b/"),
            ("/a/{b}", "/a%2Fb"),
            ("/a/**", "/ab"),
        ],
    )
    @pytest.mark.parametrize("method", ["GET", "OPTIONS", "DELETE"])
    def test_a_path_that_does_not_match_is_404(self, pattern, path, method):
        response = handle(make_router(("GET", pattern, show)), method, path)

        assert response.status == 404
        assert body(response) == f'{{"error":"Not found: no route {path}"}}'

    def test_all_paths_have_the_prefix(self):
        router = make_router(("GET", "/up", show), prefix="/a/b")

        assert handle(router, "GET", "/a/b/up").status == 200
        assert handle(router, "GET", "/up").status == 404
        assert handle(router, "GET", "/a/b").status == 404

    def test_unprefixed_routes_have_no_prefix(self):
        routes = [Route("GET", "/up", show)]
        router = Router(routes, None, "/a", unprefixed=[Route("GET", "/", show)])

        assert handle(router, "GET", "/").status == 200
        assert handle(router, "GET", "/a/up").status == 200
        assert handle(router, "GET", "/a/").status == 404

    def test_a_long_path_matches_too(self):
        router = make_router(("GET", "/{name}", show))

        assert handle(router, "GET", "/" + "x" * 500).status == 200


class TestMethods:
    ROUTER = make_router(
        ("GET", "/get", show),
        ("POST", "/post", show),
        ("GET", "/both", show),
        ("POST", "/both", show),
        (ANY_METHOD, "/any", show),
    )

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", "/get"),
            ("HEAD", "/get"),
            ("POST", "/post"),
            ("GET", "/both"),
            ("POST", "/both"),
            ("GET", "/any"),
            ("OPTIONS", "/any"),
            ("FOO", "/any"),
        ],
    )
    def test_an_allowed_method(self, method, path):
        assert handle(self.ROUTER, method, path).status == 200

    @pytest.mark.parametrize(
        ("path", "choice", "allowed"),
        [
            ("/get", "GET or HEAD", "GET, HEAD, OPTIONS"),
            ("/post", "POST", "POST, OPTIONS"),
            ("/both", "GET or HEAD or POST", "GET, HEAD, POST, OPTIONS"),
        ],
    )
    def test_another_method_is_405(self, path, choice, allowed):
        response = handle(self.ROUTER, "DELETE", path)

        assert response.status == 405
        assert body(response) == f'{{"error":"DELETE is not allowed here: use {choice}"}}'
        assert ("Allow", allowed) in response.headers
        assert handle(self.ROUTER, "OPTIONS", path) == Response(204, (("Allow", allowed),))


class TestResults:
    @staticmethod
    def result_of(function):
        return handle(make_router(("GET", "/", function)), "GET", "/")

    def test_a_response_is_returned_unchanged(self):
        response = Response(418, (("A", "b"),), b"teapot")

        assert self.result_of(lambda *_: response) is response

    def test_content_becomes_json(self):
        assert self.result_of(lambda *_: {"a": 1}) == Response(
            200, (("Content-Type", "application/json"), ("Content-Length", "7")), b'{"a":1}'
        )

    @pytest.mark.parametrize("result", [{"a": 1}, Response(200, (), b'{"a":1}')])
    def test_a_coroutine_returns_the_response_later(self, result):
        waiting = Deferred()

        async def show_later(context, request):
            await waiting
            return result

        running = Deferred.fromCoroutine(self.result_of(show_later))
        assert not running.called
        waiting.callback(None)
        assert body(running.result) == '{"a":1}'

    @pytest.mark.parametrize("later", [False, True])
    @pytest.mark.parametrize(
        ("error", "expected"),
        [
            (ApiError(409, "no", {"A": "b"}), (409, "no", (("A", "b"),))),
            (
                StoreRefusedError("corrupt"),
                (500, "The server's stored data is unusable: see the server's log", ()),
            ),
            (
                ClusterStoreLostError("the link is down"),
                (
                    503,
                    "Webhooks are stored in Redis, which is unreachable: see the server's log",
                    (("Retry-After", "5"),),
                ),
            ),
        ],
    )
    def test_an_expected_error_is_not_logged(self, log, later, error, expected):
        response = self.failing(error, later=later)

        status, message, headers = expected
        assert (response.status, body(response)) == (status, f'{{"error":"{message}"}}')
        assert response.headers[2:] == headers

    @pytest.mark.parametrize("later", [False, True])
    def test_an_unexpected_error_is_logged_and_hidden(self, log, later):
        error = RuntimeError("password of the database")
        response = self.failing(error, later=later)

        assert response.status == 500
        assert body(response) == '{"error":"Internal server error: see the server\'s log"}'
        ((text, failure),) = log.problems()
        assert text == "failed to handle GET /"
        assert failure.value is error

    def test_content_that_is_not_json_is_an_unexpected_error(self, log):
        assert self.result_of(lambda *_: {"a": object()}).status == 500
        assert len(log.problems()) == 1

    def failing(self, error, *, later):
        def fail(context, request):
            raise error

        async def fail_later(context, request):
            raise error

        return run(self.result_of(fail_later)) if later else self.result_of(fail)
