"""The page at ``/``."""

import pytest

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
"""What Firefox accepts."""


@pytest.fixture
def get(make_server, wire):
    """Return a function that gets a path; each call makes a server with a prefix."""

    def get(path, *headers, method="GET", prefix=""):
        client = wire(make_server(path=prefix))
        lines = [f"{method} {path} HTTP/1.1", "Host: x", *headers, "Connection: close", "", ""]
        client.send("\r\n".join(lines).encode())
        return client.take()

    return get


def split(response):
    head, _, body = response.decode().partition("\r\n\r\n")
    return head, body


@pytest.mark.parametrize("accept", [[], ["Accept: */*"], ["Accept: application/json"]])
def test_a_program_gets_one_line(get, accept):
    head, body = split(get("/", *accept))
    assert head.startswith("HTTP/1.1 200 ")
    assert "Content-Type: text/plain; charset=utf-8" in head
    assert body.endswith("connect to /app/APP_KEY\n")
    assert body.count("\n") == 1


def test_a_browser_gets_a_page(get):
    head, body = split(get("/", f"Accept: {BROWSER}"))
    assert head.startswith("HTTP/1.1 200 ")
    assert "Content-Type: text/html; charset=utf-8" in head
    assert "Vary: Accept" in head
    assert body.startswith("<!doctype html>")
    assert 'new Pusher("APP_KEY", {' in body
    assert "app-key" not in body


@pytest.mark.parametrize("path", ["/", "/a/b", "/a/b/", "/?x=1", "http://x", "http://x/"])
def test_the_page_is_at_the_root_and_at_the_prefix(get, path):
    head, body = split(get(path, prefix="/a/b"))
    assert head.startswith("HTTP/1.1 200 ")
    assert "connect to /a/b/app/APP_KEY" in body


@pytest.mark.parametrize("accept", ["*/*", BROWSER])
def test_head_gets_the_same_headers_and_no_body(get, accept):
    got, body = split(get("/", f"Accept: {accept}"))
    head, nothing = split(get("/", f"Accept: {accept}", method="HEAD"))
    assert f"Content-Length: {len(body.encode())}" in head
    assert sorted(head.splitlines()) == sorted(got.splitlines())
    assert nothing == ""


def test_a_node_that_is_not_ready_has_the_page_too(server):
    server.service._broker.connected = False
    assert server.request("GET", "/", sign=False).status == 200
