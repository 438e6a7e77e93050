"""The NATS brokers of several nodes: delivery once and in order, outages and access control."""

import asyncio
import gc

import pytest
from nats import errors
from nats.aio.client import Client
from nats.aio.transport import TcpTransport
from twisted.internet import defer, reactor
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import globalLogPublisher

from reverb.brokers import interest
from reverb.envelope import Publication, Termination, encode
from reverb.nats import connection as nats_connection
from tests.support.log import Log
from tests.support.nats_nodes import NatsNode, settle
from tests.support.nats_server import NatsServer
from tests.support.payloads import wrap
from tests.support.proxy import TO_NODE, TO_REDIS, Proxy
from tests.support.waiting import pause, until, wait

pytestmark = [pytest.mark.outside_reactor, pytest.mark.asyncio_reactor]


@pytest.fixture
def log():
    log = Log()
    globalLogPublisher.addObserver(log)
    yield log
    globalLogPublisher.removeObserver(log)


@pytest.fixture
def pair(make_nats_node):
    one, other = make_nats_node(), make_nats_node()
    for node in (one, other):
        node.subscribe("news")
    return one, other


@pytest.fixture
def own_pair(own_nats):
    nodes = [NatsNode(own_nats.url()).start() for _ in range(2)]
    for node in nodes:
        node.subscribe("news")
    yield nodes
    for node in nodes:
        node.stop()


def writes_of(node, monkeypatch):
    """Collect the writes of a node from now on."""
    writes = []
    transport = node.link._connection._transport
    write = transport.write
    monkeypatch.setattr(transport, "write", lambda data: (writes.append(data), write(data)))
    return writes


def test_publications_of_one_turn_are_one_write(pair, monkeypatch):
    one, other = pair
    writes = writes_of(one, monkeypatch)
    for number in range(100):
        one.publish(b"%d" % number)
    assert one.payloads() == [
        b"%d" % number for number in range(100)
    ]  # Delivered without the round trip.
    assert writes == []
    settle(one.link, other.link)

    assert [write.count(b"PUB ") for write in writes if b"PING" not in write] == [100]
    assert other.payloads() == one.payloads()


def test_subscriptions_of_one_turn_share_one_round_trip(pair, monkeypatch):
    one, other = pair
    pings = []
    connection = other.link._connection
    ping = connection._ping
    monkeypatch.setattr(connection, "_ping", lambda: (pings.append(1), ping())[1])
    wait(defer.gatherResults([other.broker.subscribe("1", f"channel-{n}") for n in range(100)]))
    for number in range(100):
        one.publish(b"%d" % number, channel=f"channel-{number}")
    settle(one.link, other.link)

    assert len(pings) <= 1 + 1 + 2  # One, perhaps a heartbeat, and two of settle().
    assert other.payloads() == [b"%d" % number for number in range(100)]


def test_a_confirmed_subscription_receives_all_later_publications(pair):
    one, other = pair
    for number in range(50):
        pending = other.broker.subscribe("1", f"channel-{number}")
        assert pending is not None
        wait(pending)
        one.publish(b"%d" % number, channel=f"channel-{number}")
        assert other.broker.subscribe("1", f"channel-{number}") is None
    settle(one.link, other.link)

    assert other.payloads() == [b"%d" % number for number in range(50)]


def test_a_node_unsubscribes_after_a_delay_and_only_without_subscribers(pair, monkeypatch, nats):
    one, other = pair
    monkeypatch.setattr(interest, "UNSUBSCRIBE_DELAY", 0.2)
    subject = f"{one.link.prefix}.channel.1.news"

    assert nats.subscriptions(subject) == 2
    other.broker.unsubscribe("1", "news")
    assert other.broker.subscribe("1", "news") is None
    pause(0.4)
    assert nats.subscriptions(subject) == 2
    other.broker.unsubscribe("1", "news")
    until("unsubscribed", lambda: nats.subscriptions(subject) == 1)
    other.subscribe("news")
    assert nats.subscriptions(subject) == 2


@pytest.mark.parametrize(
    "name", ["a.b", ".", "..", "a.", "*", ">", "a b", "x" * 5_000, "\u00e9", "a%2Eb", "#a@b,c;d=e"]
)
def test_each_name_has_its_own_token(pair, name):
    one, other = pair
    names = ["a%2Eb", "a.b", "a", "b", "%", name + "x", name]
    for channel in names:
        other.subscribe(channel, app=name)
    one.broker.publish(Publication(name, name, wrap(b"1")))
    settle(one.link, other.link)

    assert other.delivered == [Publication(name, name, wrap(b"1"))]


def test_a_malformed_message_is_counted_logged_once_and_dropped(pair, nats, log):
    one, other = pair
    prefix = one.link.prefix
    newer = encode(other.name, Termination("1", "ann")).replace(b"\x93\x01", b"\x93\x02")
    for message in (b"", b"hello", b'{"event":"e"}', b"\x93\x63", newer):
        nats.publish(f"{prefix}.channel.1.news", message)
        nats.publish(f"{prefix}.all", message)
    one.publish(b"1")
    settle(one.link, other.link)

    assert other.payloads() == [b"1"]
    assert one.broker.link_meter.dropped == other.broker.link_meter.dropped == 10
    assert len(log.lines("dropped ")) == 2  # One for each node.


def test_a_delivery_that_fails_does_not_end_the_connection(pair, log):
    one, other = pair
    other.broker._deliver = lambda envelope: 1 / 0
    one.publish(b"1")
    settle(one.link, other.link)
    other.broker._deliver = other.delivered.append
    one.publish(b"2")
    settle(one.link, other.link)

    assert other.payloads() == [b"2"]
    assert len(log.problems()) == 1


def test_a_reply_that_arrives_after_the_connection_has_ended_is_ignored(pair, log, monkeypatch):
    node, _ = pair
    connection = node.link._connection
    ping = connection._ping

    async def last_ping():
        await ping()
        # The connection ends before the callbacks of this reply run.
        asyncio.get_running_loop().call_soon(connection.abort, "the test aborts it")

    monkeypatch.setattr(connection, "_ping", last_ping)
    wait(node.link.catch_up())
    node.until_connected()
    gc.collect()

    assert connection.lost.called
    assert log.problems() == []


def test_a_message_above_max_payload_is_delivered_on_this_node_only(tmp_path, log):
    server = NatsServer(tmp_path, configuration="max_payload: 10000")
    one, other = (NatsNode(server.url()).start() for _ in range(2))
    try:
        other.subscribe("news")
        sizes = [b"x" * 9_900, b"x" * 10_000, b"x" * 20_000, b"small"]
        assert [one.publish(data) for data in sizes] == [True, False, False, True]
        settle(one.link, other.link)

        assert one.payloads() == sizes
        assert other.payloads() == [b"x" * 9_900, b"small"]
        assert one.broker.link_meter.dropped == 2
        (line,) = log.lines("1 messages were not sent to the other nodes")
        assert "max_payload is 10000 bytes" in line
    finally:
        for node in (one, other):
            node.stop()
        server.kill()


def test_the_last_publication_before_the_stop_arrives(make_nats_node, pair):
    _, other = pair
    stopping = make_nats_node()
    stopping.publish(b"last")
    stopping.stop()
    settle(other.link)

    assert other.payloads() == [b"last"]


class TestOutage:
    def test_local_delivery_continues_and_nothing_is_queued(self, own_pair, own_nats, log):
        one, other = own_pair
        own_nats.kill()
        until("lost", lambda: not one.broker.connected and not other.broker.connected)
        assert one.broker.unavailable_reason.startswith("NATS is not connected: ")
        assert not any(one.publish(b"%d" % number) for number in range(1_000))
        assert one.broker.subscribe("1", "new") is None
        assert len(one.payloads()) == 1_000
        own_nats.start()
        for node in own_pair:
            node.until_connected()
        assert one.broker.unavailable_reason is None
        assert one.broker.link_meter.reconnects == 1
        other.publish(b"after")
        other.publish(b"new", channel="new")
        settle(one.link, other.link)

        assert one.payloads()[1_000:] == [b"after", b"new"]
        assert other.payloads() == [b"after", b"new"]
        assert len(log.lines("NATS at")) == 2  # One for each node.

    def test_a_nats_that_does_not_keep_up_is_disconnected(self, own_pair, own_nats, monkeypatch):
        monkeypatch.setattr(nats_connection, "MAX_UNSENT_BYTES", 100_000)
        one, _ = own_pair
        own_nats.pause()
        unavailable_reason = None
        catching_up = []
        for _ in range(2_000):
            one.publish(b"x" * 10_000)
            catching_up.append(one.link.catch_up())
            pause(0.001)
            unavailable_reason = one.broker.unavailable_reason
            if unavailable_reason is not None:
                break

        assert unavailable_reason == "NATS is not connected: it does not keep up with this node"
        # Also the last one, of the turn in which the limit was exceeded.
        assert all(deferred.called for deferred in catching_up)

    def test_a_pending_subscription_fires_when_nats_dies(self, own_pair, own_nats):
        one, _ = own_pair
        own_nats.pause()
        pending = one.broker.subscribe("1", "new")
        catching_up = one.link.catch_up()
        pause(0.1)
        assert not pending.called
        own_nats.kill()

        assert wait(defer.gatherResults([pending, catching_up])) == [None, None]

    @pytest.mark.parametrize("directions", [(TO_REDIS,), (TO_NODE,), (TO_REDIS, TO_NODE)])
    def test_a_half_open_connection_is_detected(self, own_nats, directions):
        proxy = Proxy(own_nats.port)
        node = NatsNode(f"nats://127.0.0.1:{proxy.port}").start()
        try:
            proxy.lose(*directions)
            until("detected", lambda: not node.broker.connected, 15)
            assert "did not answer within 5 seconds" in node.broker.unavailable_reason
            proxy.restore()
            node.until_connected()
        finally:
            node.stop()
            proxy.stop()

    def test_the_next_server_is_tried(self, own_nats, tmp_path, log):
        directory = tmp_path / "second"
        directory.mkdir()
        second = NatsServer(directory)
        node = NatsNode(f"nats://127.0.0.1:{own_nats.port},127.0.0.1:{second.port}").start()
        try:
            own_nats.kill()
            until("lost", lambda: not node.broker.connected)
            node.until_connected()
            assert second.subscriptions("reverb.all") == 1
        finally:
            node.stop()
            second.kill()


class TestAccess:
    CONFIGURATION = """
        authorization { users = [
            {user: ann, password: "s3cret", permissions: {publish: ">", subscribe: "reverb.all"}}
            {user: bob, password: "s3cret"}
        ] }
    """

    @pytest.fixture
    def server(self, tmp_path):
        server = NatsServer(tmp_path, configuration=self.CONFIGURATION)
        yield server
        server.kill()

    def test_a_refused_login_is_logged_without_the_password(self, server, log):
        node = NatsNode(server.url(credentials="bob:wrong-one@"))
        wait(node.broker.start(node.delivered.append))
        until("logged", lambda: log.lines("NATS at"))
        node.stop()

        assert (
            log.lines("NATS at")[0]
            .split(" cannot be used: ")[1]
            .startswith("Authorization Violation; ")
        )
        assert not [line for line in log.lines("") if "wrong-one" in line]
        assert log.problems() == []

    def test_a_forbidden_subject_is_logged(self, server, log):
        node = NatsNode(server.url(credentials="ann:s3cret@"))
        wait(node.broker.start(node.delivered.append))
        node.until_connected()
        pending = node.broker.subscribe("1", "news")
        until("logged", lambda: log.lines("NATS at"))
        node.stop()

        assert (
            'permissions violation for subscription to "reverb.channel.1.news"'
            in (log.lines("NATS at")[0])
        )
        wait(defer.maybeDeferred(lambda: pending))

    def test_a_server_without_tls_gets_no_password_if_the_url_requires_tls(self, server, log):
        node = NatsNode(f"tls://bob:s3cret@127.0.0.1:{server.port}")
        wait(node.broker.start(node.delivered.append))
        until("logged", lambda: log.lines("NATS at"))
        node.stop()

        assert "secure connection" in log.lines("NATS at")[0]

    def test_a_token_replaces_user_and_password(self, tmp_path):
        server = NatsServer(tmp_path, configuration='authorization { token: "t0ken" }')
        try:
            NatsNode(server.url(credentials="t0ken@")).start().stop()
        finally:
            server.kill()


def test_the_private_attributes_of_nats_py_that_are_used_still_exist(nats):
    """Check the attributes that the docstring of ``reverb.nats.connection`` names."""

    async def use_them():
        client = Client()
        await client.connect(nats.url())
        messages = []

        async def process(*arguments):
            messages.append(arguments)

        client._process_msg = process
        await client.subscribe("a", future=asyncio.get_running_loop().create_future())
        await client.publish("a", b"1")
        for _ in range(2):  # The first PING may overtake commands that are not sent yet.
            await client.flush()
        transport = client._transport
        assert isinstance(transport, TcpTransport)
        assert transport._io_writer.transport.get_write_buffer_size() == 0
        assert issubclass(errors.TimeoutError, errors.Error)
        await client.close()
        return messages

    assert wait(defer.Deferred.fromFuture(asyncio.ensure_future(use_them()))) == [
        (1, b"a", b"", b"1", None)
    ]


class FakeServer(Protocol):
    """Speaks the NATS protocol, until the test makes it send a line that nats-py cannot parse."""

    INFO = b'INFO {"max_payload":1000}\r\n'

    def connectionMade(self):
        self.transport.write(self.INFO)

    def dataReceived(self, data):
        self.transport.write(b"PONG\r\n" * data.count(b"PING\r\n"))


@pytest.fixture
def fake_server():
    """A node that is connected to a server which the test controls; see ``FakeServer``."""
    servers = []
    factory = Factory()
    factory.buildProtocol = lambda address: (servers.append(FakeServer()), servers[-1])[1]
    listening = wait(TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory))
    node = NatsNode(f"nats://127.0.0.1:{listening.getHost().port}").start()
    yield node, servers[0]
    node.until_connected()
    node.stop()
    wait(defer.maybeDeferred(listening.stopListening))


def test_a_connection_that_nats_py_has_stopped_reading_is_closed(fake_server):
    node, server = fake_server
    server.transport.write(b"-ERR \r\n")
    until("closed", lambda: not node.broker.connected, 10)

    assert "nats-py has stopped reading" in node.broker.unavailable_reason


@pytest.mark.parametrize("beginning", [b"INFO {", b"MSG a 1 ", b"MSG ", b"-ERR '", b"+OK", b"x"])
def test_a_line_without_end_closes_the_connection(fake_server, beginning):
    node, server = fake_server
    server.transport.write(beginning + b"1" * 200_000)
    until("closed", lambda: not node.broker.connected, 10)

    assert "it sent a line of over 65536 bytes" in node.broker.unavailable_reason


def test_a_message_that_is_too_large_closes_the_connection(fake_server, monkeypatch):
    monkeypatch.setattr(nats_connection, "MAX_MESSAGE_BYTES", 100_000)
    node, server = fake_server
    server.transport.write(b"MSG a 1 999999999\r\n" + b"1" * 300_000)
    until("closed", lambda: not node.broker.connected, 10)

    assert "it sent a message of over 100000 bytes" in node.broker.unavailable_reason


@pytest.mark.parametrize(
    ("info", "problem"),
    [
        (b'INFO {"max_payload":"x"}\r\n', "max_payload"),
        (b"INFO " + b"x" * 100_000, ""),
        (b"INFO " + b"[" * 20_000 + b"\r\n", ""),
        (b"INFO {\xff}\r\n", ""),
        (b"INFO []\r\n", ""),
    ],
)
def test_a_malformed_info_is_a_failed_attempt(info, problem, monkeypatch):
    monkeypatch.setattr(FakeServer, "INFO", info)
    listening = wait(
        TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(
            Factory.forProtocol(FakeServer)
        )
    )
    node = NatsNode(f"nats://127.0.0.1:{listening.getHost().port}")
    node.broker.start(print)
    until("refused", lambda: "not answered yet" not in node.broker.unavailable_reason, 10)
    assert problem in node.broker.unavailable_reason
    wait(node.broker.stop())
    wait(defer.maybeDeferred(listening.stopListening))
