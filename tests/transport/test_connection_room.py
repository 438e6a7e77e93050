"""At the limit of open files, connections that wait for a request make room for new ones."""

import pytest
from twisted.internet.defer import Deferred

from reverb import transport_builder
from reverb.testing import parse_response, upgrade_request
from reverb.transport.multiplexer import MultiplexingFactory

UP = b"GET /up HTTP/1.1\r\nHost: x\r\n\r\n"
UPGRADE = upgrade_request("/app/app-key?protocol=7")


@pytest.fixture
def small(make_server, monkeypatch):
    """A server with 16 descriptors: for 12 WebSockets, and 2 other connections beside them."""
    monkeypatch.setattr(transport_builder, "read_open_files_limit", lambda: 16)
    return make_server(max_sockets="auto")


@pytest.fixture
def wires(small, wire):
    """Return a function that opens raw connections."""
    return lambda count: [wire(small) for _ in range(count)]


def is_served(wire):
    return parse_response(wire.send(UP)).status == 200


def test_the_oldest_connection_without_a_request_is_closed(small, wires):
    clients = wires(16)
    assert [c.transport.aborted for c in clients] == [True] * 2 + [False] * 14
    assert small.service.sizes()["HTTP connections"] == 14
    assert small.service._meter.refused == {"max_sockets": 2}
    assert all(is_served(client) for client in clients[2:])


def test_a_request_is_served_while_all_websockets_are_open(small, wires):
    for client in wires(12):
        client.send(UPGRADE)
    wires(10)
    assert is_served(wires(1)[0])
    assert small.service.sizes()["WebSocket connections"] == 12


def test_a_flood_does_not_close_websockets(small, wires):
    sockets = wires(12)
    for client in sockets:
        client.send(UPGRADE)
    wires(50)
    assert not any(client.transport.aborted for client in sockets)
    assert small.service.sizes()["HTTP connections"] == 2


@pytest.mark.parametrize(
    "sent", [b"", b"GET /", UP, b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n"]
)
def test_what_a_client_has_sent_of_a_request_does_not_matter(wires, sent):
    oldest, *_ = wires(14)
    if sent:
        oldest.send(sent)
    wires(1)
    assert oldest.transport.aborted


def test_a_connection_whose_request_is_being_handled_is_not_closed(small, wires, monkeypatch):
    answers = delay_responses(small, monkeypatch)
    busy = wires(13)
    for client in busy:
        client.send(UP)
    (idle,) = wires(1)
    wires(1)
    assert idle.transport.aborted
    assert not any(client.transport.aborted for client in busy)
    for answer in answers:
        answer.callback(None)


def test_if_all_connections_are_busy_a_new_one_is_refused(small, wires, monkeypatch):
    answers = delay_responses(small, monkeypatch)
    for client in wires(14):
        client.send(UP)
    (late,) = wires(1)
    late.settle()
    response = parse_response(late.received)
    assert (response.status, response.json()) == (
        503,
        {"error": "Over capacity: too many connections"},
    )
    assert late.ended
    assert small.service._meter.refused == {"max_sockets": 1}
    for answer in answers:
        answer.callback(None)


def delay_responses(server, monkeypatch):
    """Make each later request wait for a Deferred; return the list of these Deferreds."""
    answers = []
    respond = server.service.factory.http._handle

    async def wait(request):
        answers.append(Deferred())
        await answers[-1]
        return respond(request)

    monkeypatch.setattr(server.service.factory.http, "_handle", wait)
    return answers


class TestAcceptLimit:
    """The number of connections that a port accepts in one turn."""

    def test_it_is_the_room_but_not_less_than_a_quarter_of_that_for_http(self, small, wires):
        factory = small.service.factory
        assert isinstance(factory, MultiplexingFactory)
        limits = [factory.accept_limit()]
        for _ in range(3):
            wires(6)
            limits.append(factory.accept_limit())
        assert limits == [14, 8, 2, 1]

    def test_without_a_limit_it_is_still_bounded(self, make_server, monkeypatch):
        monkeypatch.setattr(transport_builder, "read_open_files_limit", lambda: 0)
        assert make_server().service.factory.accept_limit() == 1_000
