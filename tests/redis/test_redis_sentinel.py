"""Which Redis a node connects to, as its sentinels name it."""

import pytest
from twisted.internet import defer, reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.protocol import Factory, Protocol

from reverb.brokers.link import LinkLostError
from reverb.redis import sentinel as redis_sentinel
from reverb.redis.link import RedisLink
from reverb.redis.sentinel import MasterFinder
from reverb.redis.url import parse_redis_url
from tests.support.waiting import until, wait

pytestmark = pytest.mark.outside_reactor


class FakeServer(Factory):
    """Sends each reply whose keyword occurs in the received data."""

    noisy = False

    def __init__(self, replies):
        self.replies = replies
        self.received = []
        self.listening = wait(TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(self))
        self.port = self.listening.getHost().port

    def buildProtocol(self, addr):
        protocol = Protocol()
        protocol.dataReceived = lambda data: self.reply(protocol, data)
        return protocol

    def reply(self, protocol, data):
        self.received.append(data)
        for keyword, reply in self.replies.items():
            if keyword in data:
                protocol.transport.write(reply)

    def stop(self):
        if self.listening is not None:
            wait(defer.maybeDeferred(self.listening.stopListening))
            self.listening = None


@pytest.fixture
def start_fake():
    servers = []

    def start(sentinel_reply=b"", **replies):
        more = {keyword.encode(): reply for keyword, reply in replies.items()}
        servers.append(FakeServer({b"SENTINEL": sentinel_reply, **more}))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def master_reply(port):
    return b"*2\r\n$9\r\n127.0.0.1\r\n$%d\r\n%d\r\n" % (len(str(port)), port)


def url(*sentinels, more=""):
    hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in sentinels)
    return parse_redis_url(f"redis+sentinel://{hosts}/mymaster/0{more}")


def find(master):
    return wait(Deferred.fromCoroutine(master.find()))


def test_the_first_sentinel_that_knows_the_master_is_used(start_fake):
    silent, ignorant, knowing = start_fake(), start_fake(b"*-1\r\n"), start_fake(master_reply(1234))
    silent.stop()
    master = MasterFinder(url(silent, ignorant, knowing), reactor)
    find(master)

    assert master.address.startswith("127.0.0.1:1234, the master of redis+sentinel://127.0.0.1:")
    assert knowing.received == [
        b"*3\r\n$8\r\nSENTINEL\r\n$23\r\nget-master-addr-by-name\r\n$8\r\nmymaster\r\n"
    ]
    find(master)
    assert len(ignorant.received) == 1  # The sentinel that knew the master is now asked first.
    assert len(knowing.received) == 2


def test_without_a_master_the_error_names_the_reason_of_each_sentinel(start_fake, monkeypatch):
    monkeypatch.setattr(redis_sentinel, "_REPLY_TIMEOUT", 1.0)
    stopped, ignorant, hanging = start_fake(), start_fake(b"*-1\r\n"), start_fake()
    refusing = start_fake(b"-NOAUTH no.\r\n")
    stopped.stop()
    master = MasterFinder(url(stopped, ignorant, refusing, hanging), reactor)
    with pytest.raises(LinkLostError) as raised:
        find(master)

    reasons = str(raised.value).split("; ")
    assert reasons[0].startswith(f"the sentinel at 127.0.0.1:{stopped.port} cannot be reached: ")
    assert reasons[1:] == [
        f"the sentinel at 127.0.0.1:{ignorant.port} knows no master named mymaster",
        f"the sentinel at 127.0.0.1:{refusing.port} replied with an error: NOAUTH no.",
        f"the sentinel at 127.0.0.1:{hanging.port} did not answer",
    ]


def test_a_sentinel_that_missed_the_failover_does_not_block_the_node(start_fake):
    role = b"*5\r\n$5\r\nslave\r\n$1\r\nh\r\n:1\r\n$9\r\nconnected\r\n:0\r\n"
    dead, replica = start_fake(), start_fake(PING=b"+PONG\r\n", ROLE=role)
    dead.stop()
    stale, staler = start_fake(master_reply(replica.port)), start_fake(master_reply(dead.port))
    right = start_fake(b"*-1\r\n")
    link = RedisLink(url(staler, stale, right), reactor=reactor, node="n")
    link.start(lambda name, message: None)
    until(
        "the replica is detected",
        lambda: "it is not the master but a slave" in link.unavailable_reason,
        5,
    )
    until("the next is asked", lambda: right.received, 5)
    wait(link.stop())


def test_a_link_that_stops_while_a_sentinel_hangs_asks_no_other(start_fake):
    hanging, other = start_fake(), start_fake(master_reply(1))
    link = RedisLink(url(hanging, other), reactor=reactor, node="n")
    link.start(lambda name, message: None)
    until("the sentinel is asked", lambda: hanging.received, 5)
    wait(link.stop(), 1)

    assert other.received == []
    assert "the node is stopping" in link.unavailable_reason
