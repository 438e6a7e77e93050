"""The outboxes on real sockets: order, slow readers, and Twisted's private attributes."""

import socket
import sys

import msgspec
import pytest
from twisted.internet import tcp
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure

from reverb.protocol import signing
from reverb.testing import frame
from reverb.transport.outbox import BufferedOutbox, DirectOutbox, SocketTable, send_now
from tests.support.memory_servers import connections_of
from tests.support.outboxes import Owner, direct_outbox, make_slow_peers, outbox_for

LIMIT = 100_000


@pytest.fixture
def pair():
    """Make a plain Twisted transport with a small buffer, and the socket of the other end."""
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    ours.setblocking(False)
    theirs.setblocking(False)
    transport = tcp.Server(ours, Protocol(), ("127.0.0.1", 1), None, 1, MemoryReactorClock())
    yield transport, theirs
    theirs.close()
    if transport.connected:
        transport.connectionLost(Failure(ConnectionError("the test is over")))


def received(theirs):
    data = bytearray()
    while True:
        try:
            part = theirs.recv(65_536)
        except BlockingIOError:
            return data
        if not part:
            return data
        data += part


def queued(transport):
    return len(transport.dataBuffer) - transport.offset + transport._tempDataLen


def finish(transport, theirs, end):
    if end == "peer closed":
        theirs.close()
    elif end == "socket closed":
        transport.socket.close()
    elif end == "losing":
        transport.loseConnection()
    else:
        transport.connectionLost(Failure(ConnectionError("gone")))


def test_twisted_has_the_private_attributes_that_the_outbox_reads(pair):
    """This fails when Twisted changes the meaning of an attribute."""
    transport, theirs = pair
    assert (transport.dataBuffer, transport.offset) == (b"", 0)
    assert (transport._tempDataBuffer, transport._tempDataLen) == ([], 0)
    assert transport.disconnecting in (0, False)
    assert transport.TLS in (0, False)
    transport.write(b"abc")
    transport.write(b"de")
    assert (transport._tempDataBuffer, transport._tempDataLen) == ([b"abc", b"de"], 5)
    assert transport.dataBuffer == b""
    transport.doWrite()
    assert received(theirs) == b"abcde"
    assert (transport.dataBuffer, transport.offset) == (b"", 0)
    assert (transport._tempDataBuffer, transport._tempDataLen) == ([], 0)
    # After a partial write the buffer keeps all bytes, and the offset counts the written ones.
    transport.write(b"x" * 500_000)
    transport.doWrite()
    assert len(transport.dataBuffer) == 500_000
    assert 0 < transport.offset < 500_000
    assert transport._tempDataLen == 0
    assert transport.dataBuffer[transport.offset :] == b"x" * (500_000 - transport.offset)
    transport.write(b"more")
    assert transport._tempDataLen == 4
    assert len(received(theirs)) == transport.offset


def test_a_plain_socket_gets_a_direct_outbox(pair):
    transport, _ = pair
    assert isinstance(outbox_for(transport), DirectOutbox)
    transport.TLS = True
    transport.registerProducer = lambda producer, streaming: None
    assert isinstance(outbox_for(transport), BufferedOutbox)
    assert isinstance(outbox_for(StringTransport()), BufferedOutbox)


def test_an_idle_socket_is_written_to_at_once(pair):
    transport, theirs = pair
    outbox = direct_outbox(transport, SocketTable(), LIMIT, Owner())
    outbox.send(b"first")
    outbox.send(b"second")
    assert received(theirs) == b"firstsecond"
    assert transport._tempDataLen == 0
    assert transport.reactor.getWriters() == []


def test_a_transport_has_a_producer_only_once_bytes_are_queued(pair):
    """The attributes of a producer cost as much memory as the rest of an idle connection."""
    transport, theirs = pair
    outbox = direct_outbox(transport, SocketTable(), LIMIT, Owner())
    outbox.send(b"sent")
    assert transport.producer is None
    assert "producer" not in vars(transport)
    outbox.queue(b"queued")
    assert transport.producer is outbox
    outbox.close()
    assert transport.producer is None
    transport.doWrite()
    assert received(theirs) == b"sentqueued"


def test_bytes_that_are_queued_in_twisted_are_sent_first(pair):
    transport, theirs = pair
    transport.write(b"first")
    outbox = direct_outbox(transport, SocketTable(), LIMIT, Owner())
    outbox.send(b"second")
    assert received(theirs) == b""
    transport.doWrite()
    outbox.send(b"third")
    assert received(theirs) == b"firstsecondthird"


def test_send_now_keeps_the_order_of_other_writes_to_the_transport(pair):
    transport, theirs = pair
    send_now(transport, b"first")
    assert received(theirs) == b"first"
    transport.write(b"second")
    send_now(transport, b"third")
    assert received(theirs) == b""
    transport.doWrite()
    assert received(theirs) == b"secondthird"
    send_now(transport, b"x" * 500_000)
    got = received(theirs)
    while len(got) < 500_000:
        transport.doWrite()
        got += received(theirs)
    assert got == b"x" * 500_000


@pytest.mark.parametrize("end", ["peer closed", "socket closed", "losing", "lost"])
def test_send_now_does_nothing_on_a_connection_that_ends(pair, end):
    transport, theirs = pair
    finish(transport, theirs, end)
    send_now(transport, b"data")


def test_the_socket_table_has_the_busy_sockets(pair):
    transport, theirs = pair
    sockets = SocketTable()
    outbox = direct_outbox(transport, sockets, 0, Owner())
    outbox.send(b"x")
    assert sockets.busy == {}
    outbox.send(b"x" * 500_000)
    assert sockets.busy == {transport.fileno(): outbox}
    while received(theirs):
        transport.doWrite()
    outbox.send(b"x")
    assert sockets.busy == {}


def test_a_closed_outbox_sends_only_queued_bytes(pair):
    transport, theirs = pair
    sockets = SocketTable()
    outbox = direct_outbox(transport, sockets, 0, Owner())
    outbox.send(b"x" * 100_000)
    outbox.close()
    outbox.send(b"more")
    outbox.queue(b"more")
    assert sockets.busy == {transport.fileno(): outbox}
    got = received(theirs)
    while part := (transport.doWrite(), received(theirs))[1]:
        got += part
    assert got == b"x" * 100_000


def test_a_lost_connection_leaves_nothing_behind(pair):
    transport, _ = pair
    sockets = SocketTable()
    outbox = direct_outbox(transport, sockets, 0, Owner())
    outbox.close()
    outbox.detach()
    outbox.detach()
    outbox.close()
    outbox.send(b"x")
    assert (sockets.busy, sockets.closed_count, outbox.descriptor) == ({}, 1, None)


@pytest.mark.parametrize("size", [1, 999, 50_000, 300_000])
def test_bytes_that_the_kernel_does_not_accept_keep_their_order(pair, size):
    transport, theirs = pair
    outbox = direct_outbox(transport, SocketTable(), 0, Owner())
    sent, got = bytearray(), bytearray()
    for i in range(40):
        data = bytes([i]) * size
        outbox.send(data)
        sent += data
        if i % 3 == 0:
            got += received(theirs)
        if i % 2 == 0:
            transport.doWrite()
    while len(got) < len(sent):
        transport.doWrite()
        got += received(theirs)
    assert got == sent


def test_the_limit_counts_bytes_in_the_process_not_in_the_kernel(pair):
    transport, _ = pair
    overflow = Owner()
    outbox = direct_outbox(transport, SocketTable(), LIMIT, overflow)
    total = 0
    while not overflow.times:
        outbox.send(b"x" * 1000)
        total += 1000
    queued = len(transport.dataBuffer) - transport.offset + transport._tempDataLen
    assert LIMIT < queued <= LIMIT + 1000
    assert total > queued


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of the kernel is set on Linux only")
def test_the_kernel_buffers_little_for_a_reader_that_stops():
    """By default it would accept four megabytes before a byte is queued in the process."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    ours.setblocking(False)
    theirs.setblocking(False)
    transport = tcp.Server(ours, Protocol(), ("127.0.0.1", 1), None, 1, MemoryReactorClock())
    sockets = SocketTable()
    outbox = direct_outbox(transport, sockets, 0, Owner())
    for _ in range(200):  # A fast reader, so that the congestion window grows.
        outbox.send(b"x" * 100_000)
        while received(theirs):
            transport.doWrite()
    outbox.send(b"x")
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    accepted = 0
    while not sockets.busy:
        outbox.send(b"x" * 1000)
        accepted += 1000
    theirs.close()
    transport.connectionLost(Failure(ConnectionError("the test is over")))

    assert accepted < 1_000_000


def test_one_large_message_and_the_limit_bound_the_queue(pair):
    transport, _ = pair
    owner = Owner()
    outbox = direct_outbox(transport, SocketTable(), LIMIT, owner)
    outbox.send(b"x" * 5 * LIMIT)
    most = 0
    while not owner.times:
        outbox.send(b"x" * 1000)
        most = max(most, queued(transport))
    assert most > 5 * LIMIT
    assert most <= 6 * LIMIT
    assert owner.reasons == ["too much unread data is queued"]


def test_large_messages_must_be_read_one_after_the_other(pair):
    transport, theirs = pair
    owner = Owner()
    outbox = direct_outbox(transport, SocketTable(), LIMIT, owner)
    for _ in range(3):
        outbox.send(b"x" * 5 * LIMIT)
        outbox.send(b"small")
        assert owner.times == 0
        while queued(transport) > LIMIT:
            transport.doWrite()
            received(theirs)
    outbox.send(b"x" * 5 * LIMIT)
    outbox.send(b"x" * 5 * LIMIT)
    assert owner.times == 1
    assert queued(transport) <= 7 * LIMIT


def test_what_overflows_is_dropped_and_the_error_is_not(pair):
    transport, theirs = pair
    owner = Owner()
    outbox = direct_outbox(transport, SocketTable(), LIMIT, owner)
    owner.too_slow = lambda reason: outbox.send(b"error")
    outbox.send(b"x" * 2 * LIMIT)
    outbox.send(b"y" * 2 * LIMIT)
    outbox.send(b"y")
    data = b""
    while queued(transport):
        transport.doWrite()
        data += received(theirs)
    assert data == b"x" * 2 * LIMIT + b"errory"


def test_the_owner_learns_when_the_queue_is_full_and_empty(pair):
    transport, theirs = pair
    owner = Owner()
    outbox = direct_outbox(transport, SocketTable(), 0, owner)
    outbox.send(b"x" * 500_000)
    assert owner.calls == ["full"]
    while queued(transport):
        transport.doWrite()
        received(theirs)
    assert owner.calls == ["full", "empty"]
    outbox.send(b"x" * 500_000)
    outbox.close()
    while queued(transport):
        transport.doWrite()
        received(theirs)
    assert owner.calls == ["full", "empty", "full"]


def test_a_client_for_which_bytes_wait_is_watched(pair):
    transport, theirs = pair
    slow_peers = make_slow_peers(transport.reactor)
    outbox = direct_outbox(transport, SocketTable(), 0, Owner(), slow_peers)
    outbox.send(b"x")
    outbox.watch_queue()
    assert len(slow_peers) == 0
    outbox.send(b"x" * 500_000)
    assert len(slow_peers) == 1
    outbox.watch_queue()
    while queued(transport):
        transport.doWrite()
        received(theirs)
    transport.reactor.advance(1)
    assert len(slow_peers) == 0
    outbox.send(b"x" * 500_000)
    assert len(slow_peers) == 1
    outbox.detach()
    assert len(slow_peers) == 0


def test_written_bytes_do_not_count(pair):
    transport, theirs = pair
    overflow = Owner()
    outbox = direct_outbox(transport, SocketTable(), LIMIT, overflow)
    for _ in range(200):
        outbox.send(b"x" * (LIMIT // 2))
        queued = True
        while queued:
            transport.doWrite()
            queued = len(received(theirs)) > 0
    assert overflow.times == 0


def test_without_a_limit_nothing_overflows(pair):
    transport, _ = pair
    overflow = Owner()
    outbox = direct_outbox(transport, SocketTable(), 0, overflow)
    for _ in range(100):
        outbox.send(b"x" * LIMIT)
    assert overflow.times == 0


@pytest.mark.parametrize("end", ["peer closed", "socket closed", "losing", "lost"])
def test_send_does_nothing_on_a_connection_that_ends(pair, end):
    transport, theirs = pair
    outbox = direct_outbox(transport, SocketTable(), LIMIT, Owner())
    finish(transport, theirs, end)
    outbox.send(b"data")
    outbox.send(b"more")


# Transports that are not plain sockets


def test_a_buffered_outbox_counts_bytes_sent_while_the_transport_is_full():
    transport, overflow = StringTransport(), Owner()
    outbox = outbox_for(transport, max_bytes=10, owner=overflow)
    outbox.send(b"x" * 100)
    assert overflow.times == 0
    transport.producer.pauseProducing()
    outbox.send(b"x" * 10)
    transport.producer.pauseProducing()
    outbox.send(b"x")
    assert overflow.times == 0
    outbox.send(b"x")
    assert overflow.times == 1
    assert transport.value() == b"x" * 111


def test_a_buffered_outbox_resets_its_count_when_the_transport_is_empty():
    transport, overflow = StringTransport(), Owner()
    outbox = outbox_for(transport, max_bytes=10, owner=overflow)
    for _ in range(10):
        transport.producer.pauseProducing()
        outbox.send(b"x" * 9)
        transport.producer.resumeProducing()
        outbox.send(b"x" * 99)
    assert overflow.times == 0


def test_a_buffered_outbox_without_a_limit_never_overflows():
    transport, overflow = StringTransport(), Owner()
    outbox = outbox_for(transport, max_bytes=0, owner=overflow)
    transport.producer.pauseProducing()
    outbox.send(b"x" * 10_000_000)
    transport.producer.stopProducing()
    outbox.send(b"x")
    assert overflow.times == 0


@pytest.fixture
def wrapped(pair):
    """Make a transport like that of TLS, around a real socket, and the socket of the other end."""
    transport, theirs = pair
    wrapper = ProtocolWrapper(WrappingFactory(Factory()), Protocol())
    wrapper.makeConnection(transport)
    return wrapper, transport, theirs


def test_a_message_above_the_limit_does_not_count_against_those_behind_it_over_tls(wrapped):
    wrapper, transport, theirs = wrapped
    owner = Owner()
    outbox = outbox_for(wrapper, LIMIT, owner)
    assert isinstance(outbox, BufferedOutbox)
    for _ in range(3):
        outbox.send(b"x" * 5 * LIMIT)
        for _ in range(9):
            outbox.send(b"x" * (LIMIT // 10))
        assert owner.times == 0
        while queued(transport):
            transport.doWrite()
            received(theirs)
    outbox.send(b"x" * 5 * LIMIT)
    outbox.send(b"x" * 5 * LIMIT)
    assert owner.reasons == ["too much unread data is queued"]
    assert queued(transport) <= 6 * LIMIT


# The whole server on real sockets


def test_frames_arrive_in_order_on_a_real_socket(make_server, real):
    server = make_server()
    client = real(server)
    client.connect()
    client.send(_subscribe("news"))
    client.read_until(b"subscription_succeeded")
    client.buffer.clear()
    for i in range(100):
        server.service.publish(server.app, ["news"], "event", str(i))
        if i % 10 == 0:
            client.turn()
    client.turn()
    client.read_until(b'"99"')
    texts = [payload for _, payload in client.frames()]
    assert texts == [b'{"event":"event","channel":"news","data":"%d"}' % i for i in range(100)]


def _subscribe(channel):
    return frame(b'{"event":"pusher:subscribe","data":{"channel":"%s"}}' % channel.encode())


def test_a_slow_reader_is_closed_with_4100_and_others_are_not_affected(make_server, real, log):
    server = make_server(max_buffered_bytes=LIMIT)
    healthy = [real(server), real(server)]
    slow = real(server, small=True)
    order = [healthy[0], slow, healthy[1]]
    for client in order:
        client.connect()
        client.send(_subscribe("news"))
        client.read_until(b"subscription_succeeded")
        client.buffer.clear()
    published = 0
    while len(server.service.hub.sessions) == 3 and not log.lines("disconnected "):
        server.service.publish(server.app, ["news"], "event", "x" * 10_000)
        published += 1
        for client in healthy:
            client.read()
        if not all(s.open for s in server.service.hub.sessions.values()):
            break
        assert published < 2000
    for client in healthy:
        client.read_times(b'"event":"event"', published)
    # It never reads, so it is aborted after the close timeout.
    slow.advance(4)
    assert len(server.service.hub.sessions) == 2
    (line,) = log.lines("disconnected ")
    assert "4100 Connection too slow" in line
    server.service.publish(server.app, ["news"], "after", "all")
    for client in healthy:
        client.read_until(b'"after"')
        assert len(client.frames()) == published + 1


def test_a_slow_reader_that_continues_receives_one_error(make_server, real):
    server = make_server(max_buffered_bytes=LIMIT)
    client = real(server, small=True)
    client.connect()
    client.send(_subscribe("news"))
    client.read_until(b"subscription_succeeded")
    client.buffer.clear()
    for _ in range(1000):
        server.service.publish(server.app, ["news"], "event", "x" * 10_000)
        server.clock.advance(0)
        if not all(s.open for s in server.service.hub.sessions.values()):
            break
    client.read_times(b"Connection too slow", 2)
    *events, error, close = client.frames()
    assert b'"event":"event"' in events[-1][1]
    assert b'"code":4100' in error[1]
    assert close[0] == 8
    assert int.from_bytes(close[1][:2]) == 4100


def test_a_full_transport_that_is_not_a_plain_socket_is_closed_with_4100(make_server):
    server = make_server(max_buffered_bytes=1000)
    slow, healthy = server.client(), server.client()
    for client in (slow, healthy):
        client.subscribe("news")
        client.take()
    for connection in connections_of(server):
        if connection.socket_id == slow.socket_id:
            connection.transport.producer.pauseProducing()
    server.publish("news", "event", "x" * 900)
    server.publish("news", "event", "x" * 900)
    server.publish("news", "event", "x" * 900)
    assert len(healthy.take()) == 3
    assert [e["event"] for e in slow.take()] == ["event", "event", "pusher:error"]
    assert slow.close_code == 4100


def test_a_newcomer_receives_a_list_of_members_above_the_limit(make_server, real):
    server = make_server(max_buffered_bytes=10_000)
    for number in range(60):
        info = {"user_id": str(number), "user_info": {"name": "x" * 1_900}}
        member = msgspec.json.encode(info).decode()
        server.client().subscribe("presence-large", channel_data=member)
    newcomer = real(server, small=True)
    connection = newcomer.connect()
    data = {"channel": "presence-large", "channel_data": '{"user_id":"new"}'}
    text = signing.channel_text(connection.socket_id, data["channel"], data["channel_data"])
    data["auth"] = f"{server.app.key}:{signing.sign(server.app.secret, text)}"
    newcomer.send(frame(msgspec.json.encode({"event": "pusher:subscribe", "data": data})))
    # Others join meanwhile.
    server.client().subscribe("presence-large", channel_data='{"user_id":"later"}')
    newcomer.read_until(b'"later')
    (_, members), (_, added) = newcomer.frames()
    assert len(members) > 100_000
    assert b"subscription_succeeded" in members
    assert b"member_added" in added


def test_a_newcomer_to_two_channels_reads_both_lists_of_members(make_server, real):
    """The server handles the second subscription only when the first list has been taken."""
    server = make_server(max_buffered_bytes=10_000)
    for number in range(60):
        info = {"user_id": str(number), "user_info": {"name": "x" * 1_900}}
        member = msgspec.json.encode(info).decode()
        client = server.client()
        for channel in ["presence-one", "presence-two"]:
            client.subscribe(channel, channel_data=member)
    newcomer = real(server, small=True)
    connection = newcomer.connect()
    for channel in ["presence-one", "presence-two"]:
        data = {"channel": channel, "channel_data": '{"user_id":"new"}'}
        text = signing.channel_text(connection.socket_id, channel, data["channel_data"])
        data["auth"] = f"{server.app.key}:{signing.sign(server.app.secret, text)}"
        newcomer.send(frame(msgspec.json.encode({"event": "pusher:subscribe", "data": data})))
    frames = []
    while len(frames) < 2:
        newcomer.read()
        frames += newcomer.frames()
    assert [b"subscription_succeeded" in payload for _, payload in frames] == [True, True]


@pytest.mark.parametrize("channels", [["news"], ["news", "more"]])
def test_an_event_above_the_limit_reaches_a_client_that_reads(make_server, real, channels):
    """Also with an event on another channel, which shares the write, and with events behind it."""
    server = make_server(max_buffered_bytes=10_000)
    app = msgspec.structs.replace(server.app, max_event_bytes=0)
    client = real(server, small=True)
    client.connect()
    for channel in channels:
        client.send(_subscribe(channel))
        client.read_until(b"subscription_succeeded")
        client.buffer = b""
    for number in range(3):
        for channel in channels:
            server.service.publish(app, [channel], "large", "x" * 200_000)
        server.clock.advance(0)
        server.service.publish(app, channels, f"small-{number}", "x")
        server.clock.advance(0)
        while client.buffer.count(b"small-%d" % number) < len(channels):
            client.read()
    assert [s.open for s in server.service.hub.sessions.values()] == [True]
    assert sum(b'"large"' in payload for _, payload in client.frames()) == 3 * len(channels)


def test_a_full_transport_without_a_socket_is_slow_after_the_timeout(make_server):
    server = make_server()
    slow = server.client()
    (connection,) = connections_of(server)
    connection.transport.producer.pauseProducing()
    server.advance(19)
    assert slow.connected
    server.advance(3)
    assert slow.close_code == 4100
    assert slow.close_reason.startswith("Connection too slow: fewer than 1000 bytes/s")


def test_the_limit_can_be_disabled(make_server, real):
    server = make_server(max_buffered_bytes=0)
    client = real(server, small=True)
    client.connect()
    client.send(_subscribe("news"))
    client.read_until(b"subscription_succeeded")
    client.buffer.clear()
    for _ in range(300):
        server.service.publish(server.app, ["news"], "event", "x" * 10_000)
        server.clock.advance(0)
    client.read_times(b'"event":"event"', 300)


def test_an_idle_api_client_that_does_not_read_is_aborted(make_server, real):
    """Responses are left in the buffer, so a regular close would never complete."""
    server = make_server(request_timeout=5)
    client = real(server, small=True)
    client.socket.sendall(b"GET /app/x HTTP/1.1\r\nHost: x\r\n\r\n" * 1)
    client.turn()
    client.transport.write(b"x" * 3_000_000)  # Like a large response.
    client.turn()
    for _ in range(60):
        client.advance(1)
    assert not client.transport.connected
