"""What is true of every broker; subclass it to test yours."""

import pytest
from twisted.internet.defer import Deferred
from zope.interface.verify import verifyObject

from reverb.brokers.envelope import Publication, Termination
from reverb.interfaces import IBroker

FIRST = Publication("1", "news", b'{"event":"e","channel":"news","data":"1"}')
ENVELOPES = [
    FIRST,
    Publication("1", "news", b"{}", "1.1"),
    Publication("2", "presence-x", '{"a":"\u00e9\U0001f600"}'.encode()),
    Publication("1", "#server-to-user-1", b""),
    Publication("1", "x" * 200, b"\0\xff" * 50_000),
    Termination("1", "ann"),
    Termination("2", "x" * 200),
]


class BrokerContract:
    """A suite for any implementation of ``IBroker``, on one node.

    A subclass makes the broker in :meth:`make_broker`. When its Deferreds need
    a reactor to fire, it overrides :meth:`wait`.
    """

    broker: IBroker

    def make_broker(self) -> IBroker:
        """Make a broker that has not been started."""
        raise NotImplementedError

    def wait(self, deferred: Deferred):
        """Wait until a Deferred has fired."""
        results = []
        deferred.addBoth(results.append)
        assert results == [None]

    def settle(self) -> None:
        """Let what was published arrive."""

    @pytest.fixture(autouse=True)
    def _make(self):
        self.broker = self.make_broker()
        self.delivered = []
        self.wait(self.broker.start(self.delivered.append))
        yield
        self.wait(self.broker.stop())

    def publish(self, *envelopes):
        for envelope in envelopes:
            self.broker.publish(envelope)
        self.settle()

    def test_it_provides_the_interface(self):
        assert verifyObject(IBroker, self.broker)

    def test_it_says_that_it_is_connected(self):
        assert self.broker.connected is True

    @pytest.mark.parametrize("envelope", ENVELOPES)
    def test_an_envelope_comes_as_it_was_published_and_once(self, envelope):
        self.publish(envelope)

        assert self.delivered == [envelope]
        assert type(self.delivered[0]) is type(envelope)

    def test_envelopes_come_in_their_order(self):
        sent = [Publication("1", f"c{n % 3}", b"%d" % n) for n in range(100)]
        self.publish(*sent)

        for channel in ("c0", "c1", "c2"):
            assert [e for e in self.delivered if e.channel == channel] == [
                e for e in sent if e.channel == channel
            ]

    def test_this_node_is_served_before_publish_returns(self):
        self.broker.publish(FIRST)

        assert self.delivered == [FIRST]

    def test_what_is_published_in_answer_to_a_delivery_comes_too(self):
        answer = Publication("1", "news", b"answer")

        class Answering(list):
            def append(inner, envelope):
                super().append(envelope)
                if envelope == FIRST:
                    self.broker.publish(answer)

        self.wait(self.broker.stop())
        self.broker = self.make_broker()
        self.delivered = Answering()
        self.wait(self.broker.start(self.delivered.append))
        self.publish(FIRST)
        self.settle()

        assert self.delivered == [FIRST, answer]

    def test_nothing_comes_after_the_stop_and_nobody_is_hurt(self):
        self.wait(self.broker.stop())
        self.broker.publish(FIRST)

        assert self.delivered == []

    def test_it_can_be_stopped_twice(self):
        self.wait(self.broker.stop())
        self.wait(self.broker.stop())
