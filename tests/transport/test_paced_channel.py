"""HTTP requests are read at the pace at which the client reads the responses, and in turns."""

import pytest
from twisted.internet.defer import Deferred

from reverb.service import ReverbService
from reverb.stores.memory import MemoryStore
from reverb.testing import APP, frame, signed_query, upgrade_request

from .conftest import FULL_AFTER

UP = b"GET /up HTTP/1.1\r\nHost: x\r\n\r\n"
LONG = b"GET /" + b"n" * 180 + b" HTTP/1.1\r\nHost: x\r\n\r\n"
EVENTS = "/apps/app-id/events"
BODY = b'{"name":"e","channel":"news","data":"x"}'


def head(server, framing, body=BODY):
    """Make the head of a signed request that publishes."""
    query = signed_query(APP, "POST", EVENTS, {}, body, server.now())
    target = EVENTS + "?" + "&".join(f"{name}={value}" for name, value in query.items())
    return f"POST {target} HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n".encode()


def queued(transport):
    return len(transport.dataBuffer) - transport.offset + transport._tempDataLen


def channel_of(client):
    return client.transport.protocol._channel


def read_responses(client, count):
    client.read_times(b"HTTP/1.1 ", count)
    while not client.buffer.endswith(b"}"):
        assert client.read(), "the server has closed the connection"


# Responses that wait


def test_reading_stops_while_responses_wait(make_server, real):
    server = make_server()
    client = real(server, small=True)
    sent = client.flood(LONG * 20, 30_000_000)
    assert sent < 30_000_000
    assert queued(client.transport) < 100_000
    assert len(channel_of(client)._unread) + len(channel_of(client)._buffer) < 100_000
    # The client reads: every complete request is answered.
    whole = sent // len(LONG)
    read_responses(client, whole)
    assert client.buffer.count(b"HTTP/1.1 404") == whole


def test_reading_stops_for_requests_in_segments_of_their_own(make_server, real):
    server = make_server()
    client = real(server, small=True)
    client.socket.settimeout(FULL_AFTER)
    for _ in range(3_000):
        client.socket.send(UP)
        client.turn()
    assert queued(client.transport) < 100_000
    assert channel_of(client).is_behind
    client.socket.settimeout(5)
    read_responses(client, 3_000)
    assert channel_of(client).idle


def test_a_client_that_reads_no_response_is_disconnected(make_server, real, log):
    server = make_server()
    client = real(server, small=True)
    client.flood(LONG * 20, 3_000_000)
    client.advance(19)
    assert client.transport.connected
    client.advance(4)
    assert not client.transport.connected
    assert server.service._meter.slow_http_clients == 1
    (line,) = log.lines("closed the HTTP connection")
    assert "too slow: fewer than 1000 bytes/s were read for 20 s" in line
    assert not server.service.factory.http_connections


def test_no_request_is_served_after_the_client_has_disconnected(server, wire):
    client = wire(server)
    client.transport.protocol.dataReceived(UP * 100)
    channel = channel_of(client)
    assert channel.is_behind
    responses = server.service._meter.responses
    served = responses[200]
    client.vanish()
    server.advance(1)
    assert responses[200] == served < 100
    assert (channel.unread_bytes, channel.is_behind) == (0, False)


def test_the_lines_about_slow_clients_are_throttled(make_server, real, log):
    server = make_server()
    clients = [real(server, small=True) for _ in range(3)]
    for client in clients:
        client.flood(LONG * 20, 1_000_000)
    clients[0].advance(25)
    assert server.service._meter.slow_http_clients == 3
    assert len(log.lines("closed the HTTP connection")) == 1
    server.service._websockets.connection_log.flush()
    (line,) = log.lines("suppressed")
    assert "suppressed 2 lines" in line
    assert "slow HTTP client" in line


def test_a_client_that_reads_slowly_but_steadily_is_not_disconnected(make_server, real):
    server = make_server(request_timeout=5)
    client = real(server, small=True)
    client.flood(LONG * 20, 1_000_000)
    for _ in range(90):
        client.socket.recv(3_000)
        client.advance(1)
    assert client.transport.connected
    assert server.service._meter.slow_http_clients == 0


def test_a_connection_that_closes_after_its_response_is_watched_too(make_server, real):
    server = make_server()
    client = real(server, small=True)
    client.flood(LONG * 20, 200_000)
    client.transport.write(b"x" * 1_000_000)  # Like a large response.
    channel_of(client).loseConnection()
    client.advance(25)
    assert not client.transport.connected
    assert server.service._meter.slow_http_clients == 1


def test_a_response_that_waits_is_no_idleness(make_server, real):
    server = make_server(request_timeout=3)
    client = real(server, small=True)
    client.send(UP)
    client.transport.write(b"x" * 50_000)  # Less than would stop the reading.
    client.turn()
    client.advance(10)
    assert client.transport.connected
    client.advance(25)
    assert not client.transport.connected


# Turns


def count_per_portion(channel, name):
    """Count the calls of a method in each portion that twisted.web gets."""
    portions = []
    method, read_portion = getattr(channel, name), channel._read_portion

    def counted(*args):
        portions[-1] += 1
        return method(*args)

    def portion():
        portions.append(0)
        read_portion()

    setattr(channel, name, counted)
    channel._read_portion = portion
    return portions


def test_a_turn_serves_a_bounded_number_of_requests(wire):
    client = wire()
    client.send(UP)
    portions = count_per_portion(client.transport.protocol._channel, "allContentReceived")
    client.take()
    client.send(UP * 1_000)
    assert len(client.responses()) == 1_000
    assert sum(portions) == 1_000
    assert max(portions) <= 16
    assert client.transport.protocol._channel.idle


def test_a_turn_reads_a_bounded_number_of_bytes(server, wire):
    client = wire()
    body = b"x" * 10_001
    client.send(head(server, "Transfer-Encoding: chunked", body))
    client.send(b"1\r\nx\r\n")
    channel = client.transport.protocol._channel
    portions = count_per_portion(channel, "rawDataReceived")
    client.send(b"1\r\nx\r\n" * 10_000 + b"0\r\n\r\n" + UP)
    assert [r.status for r in client.responses()] == [400, 200]
    assert len(portions) >= 7


def test_other_connections_are_served_between_the_turns(make_server, real):
    server = make_server()
    flooder, other = real(server), real(server)
    flooder.socket.sendall(UP * 1_500)
    flooder.transport.doRead()
    assert channel_of(flooder).is_behind
    other.socket.sendall(UP)
    other.transport.doRead()
    assert b"200 OK" in other.socket.recv(1_000)
    assert channel_of(flooder).is_behind
    flooder.turn()
    assert not channel_of(flooder).is_behind


def test_a_request_that_ends_the_connection_ends_the_pipeline(wire):
    client = wire()
    client.send(UP * 40 + UP.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + UP * 40)
    assert len(client.responses()) == 41
    assert client.ended


def test_a_refused_request_ends_the_pipeline(wire):
    client = wire()
    client.send(UP * 40 + b"nonsense\r\n\r\n" + UP * 40)
    assert [r.status for r in client.responses()] == [200] * 40 + [400]
    client.send(UP)
    assert client.responses() == []


def test_an_upgrade_may_follow_when_all_requests_are_answered(wire):
    client = wire()
    client.send(UP * 100)
    assert len(client.responses()) == 100
    client.send(upgrade_request("/app/app-key?protocol=7"))
    assert b"connection_established" in client.take()
    client.send(frame(b'{"event":"pusher:ping"}'))
    assert b"pusher:pong" in client.take()


def test_an_upgrade_ends_the_watch_of_the_responses(make_server, real):
    server = make_server(request_timeout=3)
    client = real(server, small=True)
    client.send(UP)
    client.transport.write(b"x" * 50_000)
    client.turn()
    client.advance(4)
    slow_peers = channel_of(client)._pacing.slow_peers
    assert len(slow_peers) == 1
    client.send(upgrade_request("/app/app-key?protocol=7"))
    assert len(slow_peers) == 0
    assert len(server.service._websockets.slow_peers) == 1
    client.read_until(b"connection_established")
    client.advance(25)
    assert client.transport.connected


@pytest.mark.parametrize(("rest", "statuses"), [(b"Host: x\r\n\r\n", [200, 200]), (UP, [200, 400])])
def test_a_head_that_is_cut_between_two_lines_is_one_head(wire, rest, statuses):
    client = wire()
    client.send(UP + b"GET /up HTTP/1.1\r\n", rest)
    assert [r.status for r in client.responses()] == statuses


@pytest.mark.parametrize("part", [b"GET /up HTTP/1.1\r\n", b"GET /up HTTP/1.1\r\nHo"])
def test_a_head_behind_other_requests_has_a_time_limit(server, wire, part):
    client = wire()
    client.send(UP + part)
    client.advance(server.service.settings.request_timeout + 1)
    assert [r.status for r in client.responses()] == [200, 408]


def test_bytes_after_the_last_request_are_discarded(server, wire):
    client = wire()
    client.send(UP.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    assert client.ended
    client.send(UP, UP[:9], upgrade_request("/app/app-key?protocol=7"))  # TLS still delivers them.
    assert server.service._meter.responses == {200: 1}
    assert not server.service._websockets.connections


# Requests that wait for the store


class SlowStore(MemoryStore):
    def connections(self, app_id):
        self.pending_count = Deferred()
        return self.pending_count


def test_what_follows_a_waiting_request_is_bounded_and_in_order(make_server, real):
    stores = []

    def service(settings, **more):
        stores.append(SlowStore(more["runtime"].reactor.seconds))
        return ReverbService(settings, store=stores[0], **more)

    server = make_server(service=service)
    path = "/apps/app-id/connections"
    signature = signed_query(APP, "GET", path, {}, b"", server.now())
    query = "&".join(f"{k}={v}" for k, v in signature.items())
    counted = f"GET {path}?{query} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    client = real(server, small=True)
    client.send(UP + counted)
    sent = client.flood(LONG, 30_000_000)
    assert sent < 30_000_000
    channel = channel_of(client)
    kept = len(channel._unread) + len(channel._buffer) + sum(map(len, channel._dataBuffer))
    assert kept < 100_000
    stores[0].pending_count.callback(7)
    read_responses(client, 2 + sent // len(LONG))
    first, _, rest = client.buffer.partition(b'{"connections":7}')
    assert first.count(b"HTTP/1.1 200") == 2
    assert rest.count(b"HTTP/1.1 404") == sent // len(LONG)


def test_nothing_is_left_of_a_client_that_vanishes(make_server, real):
    server = make_server()
    client = real(server, small=True)
    client.flood(LONG * 20, 2_000_000)
    client.close()
    server.settle()
    assert not server.service.factory.http_connections
    assert len(server.clock.getDelayedCalls()) == 1  # The one-second timer.


def test_responses_are_complete_and_in_order(server, wire):
    client = wire()
    publish = head(server, f"Content-Length: {len(BODY)}") + BODY
    data = (UP + LONG + publish) * 100
    client.send(*(data[start : start + 7_777] for start in range(0, len(data), 7_777)))
    assert [r.status for r in client.responses()] == [200, 404, 200] * 100
