"""Fixtures of the API tests: servers, raw requests and hand-made signatures."""

import hashlib

import msgspec
import pytest

from reverb.protocol import signing
from reverb.testing import APP, MemoryServer, parse_response


class Server(MemoryServer):
    """A server in memory, with short methods for the requests of the tests."""

    def get(self, route, *, app=None, **query):
        app = app or self.app
        return self.request("GET", f"/apps/{app.id}/{route}", query=query, app=app)

    def post(self, route, body=b"", *, app=None, **query):
        app = app or self.app
        return self.request("POST", f"/apps/{app.id}/{route}", body, query=query, app=app)

    def raw(self, method, path, query, body=b"", headers=()):
        """Send a request with the query unchanged."""
        lines = [f"{method} {path}?{query} HTTP/1.1", "Host: x", *headers]
        head = "\r\n".join([*lines, f"Content-Length: {len(body)}"]) + "\r\n\r\n"
        return parse_response(self.exchange(head.encode() + body))

    def subscriber(self, *channels, **more):
        """Return a new client that is subscribed to the channels."""
        client = self.client()
        for channel in channels:
            client.subscribe(channel, **more)
        client.take()
        return client


@pytest.fixture
def make_server(servers):
    """Start servers in memory."""

    def make(*apps, **settings):
        servers.append(Server(*apps, **settings))
        return servers[-1]

    return make


@pytest.fixture
def app_with():
    """Make a copy of the default app with other settings."""

    def make(**changes):
        return msgspec.structs.replace(APP, **changes)

    return make


@pytest.fixture
def signed():
    """Sign a request by hand.

    Return the parameters, so that the test can change them. A parameter that is None is
    left out.
    """

    def sign(server, method, path, body=b"", **more):
        parameters = {
            "auth_key": server.app.key,
            "auth_timestamp": str(int(server.now())),
            "auth_version": "1.0",
        }
        if body:
            parameters["body_md5"] = hashlib.md5(body).hexdigest()
        parameters |= {name: value for name, value in more.items() if value is not None}
        for name in [name for name, value in more.items() if value is None]:
            parameters.pop(name, None)
        text = signing.request_text(method, path, parameters.items())
        signature = signing.sign(server.app.secret, text)
        return {**parameters, "auth_signature": signature}

    return sign


@pytest.fixture
def vector_time(monkeypatch):
    """Set the servers' wall clock to the time of the documentation's test vector."""
    monkeypatch.setattr("reverb.testing.server.NOW", 1_353_088_179.0)
