"""Which Redis a node connects to, by what sentinels say."""

import pytest
from twisted.internet import defer, reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.protocol import Factory, Protocol

from redis_nodes import until, wait
from reverb.brokers.link import LinkLostError
from reverb.redis import sentinel as redis_master
from reverb.redis.link import RedisLink
from reverb.redis.sentinel import MasterFinder
from reverb.redis.url import parse_redis_url

pytestmark = pytest.mark.outside_reactor


class Answering(Factory):
    """Gives each answer where its word is in what it is asked."""

    noisy = False

    def __init__(self, answers):
        self.answers = answers
        self.asked = []
        self.listening = wait(TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(self))
        self.port = self.listening.getHost().port

    def buildProtocol(self, addr):
        protocol = Protocol()
        protocol.dataReceived = lambda data: self.answer(protocol, data)
        return protocol

    def answer(self, protocol, data):
        self.asked.append(data)
        for word, answer in self.answers.items():
            if word in data:
                protocol.transport.write(answer)

    def stop(self):
        if self.listening is not None:
            wait(defer.maybeDeferred(self.listening.stopListening))
            self.listening = None


@pytest.fixture
def answering():
    made = []

    def answering(answer=b"", **answers):
        words = {word.encode(): text for word, text in answers.items()}
        made.append(Answering({b"SENTINEL": answer, **words}))
        return made[-1]

    yield answering
    for one in made:
        one.stop()


def address(port):
    return b"*2\r\n$9\r\n127.0.0.1\r\n$%d\r\n%d\r\n" % (len(str(port)), port)


def url(*sentinels, more=""):
    hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in sentinels)
    return parse_redis_url(f"redis+sentinel://{hosts}/mymaster/0{more}")


def find(master):
    return wait(Deferred.fromCoroutine(master.find()))


def test_the_first_that_knows_is_believed(answering):
    silent, ignorant, knowing = answering(), answering(b"*-1\r\n"), answering(address(1234))
    silent.stop()
    master = MasterFinder(url(silent, ignorant, knowing), reactor)
    find(master)

    assert master.address.startswith("127.0.0.1:1234, the master of redis+sentinel://127.0.0.1:")
    assert knowing.asked == [
        b"*3\r\n$8\r\nSENTINEL\r\n$23\r\nget-master-addr-by-name\r\n$8\r\nmymaster\r\n"
    ]
    find(master)
    assert (len(ignorant.asked), len(knowing.asked)) == (1, 2)  # Who knew is asked first.


def test_when_none_knows_it_says_what_each_has_said(answering, monkeypatch):
    monkeypatch.setattr(redis_master, "_ANSWER_TIMEOUT", 0.2)
    gone, ignorant, hanging = answering(), answering(b"*-1\r\n"), answering()
    refusing = answering(b"-NOAUTH Authentication required.\r\n")
    gone.stop()
    master = MasterFinder(url(gone, ignorant, refusing, hanging), reactor)
    with pytest.raises(LinkLostError) as raised:
        find(master)

    sentences = str(raised.value).split("; ")
    assert sentences[0].startswith(f"the sentinel at 127.0.0.1:{gone.port} cannot be reached: ")
    assert sentences[1:] == [
        f"the sentinel at 127.0.0.1:{ignorant.port} knows no master named mymaster",
        f"the sentinel at 127.0.0.1:{refusing.port} NOAUTH Authentication required.",
        f"the sentinel at 127.0.0.1:{hanging.port} did not answer",
    ]


def test_a_sentinel_that_has_missed_the_fail_over_does_not_hold_the_node_up(answering):
    role = b"*5\r\n$5\r\nslave\r\n$1\r\nh\r\n:1\r\n$9\r\nconnected\r\n:0\r\n"
    dead, replica = answering(), answering(PING=b"+PONG\r\n", ROLE=role)
    dead.stop()
    stale, staler = answering(address(replica.port)), answering(address(dead.port))
    right = answering(b"*-1\r\n")
    link = RedisLink(url(staler, stale, right), reactor=reactor, node="n")
    link.start()
    until(
        "a replica is found out",
        lambda: "it is no master but a slave" in link.unavailable_reason,
        5,
    )
    until("the next is asked", lambda: right.asked, 5)
    wait(Deferred.fromCoroutine(link.stop()))
