"""Test suites for brokers; subclass them to test your own broker."""

from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from zope.interface.verify import verifyObject

from reverb.envelope import Envelope, Publication, Termination
from reverb.interfaces import IBroker
from reverb.protocol import messages


def _publication(app_id: str, channel: str, data: str, exclude: str | None = None) -> Publication:
    """Make a publication whose payload is an encoded event, like the publications of the server."""
    return Publication(app_id, channel, messages.event("e", channel, data), exclude)


_LARGE = "\u00e9\x00\U0001f600" * 20_000
FIRST = _publication("1", "news", "1")
ENVELOPES: list[Envelope] = [
    FIRST,
    _publication("1", "news", "{}", "1.1"),
    Publication("2", "presence-x", '{"event":"\u00e9\U0001f600"}'.encode()),
    Publication("1", "#online-ann", b""),
    _publication("1", "x" * 200, _LARGE),
    Termination("1", "ann"),
    Termination("2", "x" * 200),
]

UNUSUAL_NAMES = [
    "a",
    "A",
    "a.b",
    "a,b;c.d=e@f",
    "#server-to-user-1",
    "presence-x",
    "x" * 200,
    "a_b",
]
"""Channel names, some of which a careless encoding may map to the same topic."""


class _Suite:
    """The base class of both broker suites, with the methods that a subclass overrides."""

    @pytest.fixture
    def deployment(self) -> Iterator[None]:
        """Set up the resources that the brokers of one test share, and clean up after the test.

        Each test uses this pytest fixture. The default fixture does nothing.
        """
        yield

    def make_broker(self) -> IBroker:
        """Return a new broker that has not been started. A subclass must override this method.

        All brokers that are made within one test must reach each other, as the nodes of a
        cluster do.
        """
        raise NotImplementedError

    def wait(self, deferred: "Deferred[Any] | None") -> None:
        """Wait until a Deferred has fired; do nothing for None.

        The default method fails if the Deferred has not fired already. If the broker needs a
        reactor, override this method to run the reactor until the Deferred has fired.
        """
        results: list[Any] = []
        if deferred is not None:
            deferred.addBoth(results.append)
            assert results == [None]

    def settle(self) -> None:
        """Wait until all envelopes that have been published have arrived.

        The default method does nothing. Override this method if envelopes arrive with a delay.
        """

    def start(self, broker: IBroker, delivered: list[Envelope]) -> None:
        """Start a broker, and wait until it is ready."""
        self.wait(broker.start(delivered.append))


class BrokerContract(_Suite):
    """The test suite for an implementation of ``IBroker``, on one node.

    The name of a subclass begins with ``Test``, so that pytest collects the subclass. A subclass
    must override ``make_broker()``. A subclass overrides ``wait()`` if the broker's Deferreds
    need a reactor to fire, and ``settle()`` if envelopes arrive with a delay. A subclass may
    override the fixture ``deployment`` to set up and clean up the resources of the broker.

    Attributes:
        broker: The broker of the current test. The suite starts the broker before the test, and
            stops it after the test.
        delivered: The envelopes that the broker has delivered, in order.
    """

    broker: IBroker
    delivered: list[Envelope]

    @pytest.fixture(autouse=True)
    def _make(self, deployment: None) -> Iterator[None]:
        self.broker = self.make_broker()
        self.delivered = []
        self.start(self.broker, self.delivered)
        for app_id, channel in dict.fromkeys(
            (envelope.app_id, envelope.channel)
            for envelope in ENVELOPES
            if isinstance(envelope, Publication)
        ):
            self.wait(self.broker.subscribe(app_id, channel))
        yield
        self.wait(self.broker.stop())

    def publish(self, *envelopes: Envelope) -> None:
        """Publish envelopes, and wait until they have arrived."""
        for envelope in envelopes:
            self.broker.publish(envelope)
        self.settle()

    def test_it_provides_the_interface(self) -> None:
        assert verifyObject(IBroker, self.broker)

    def test_it_reports_that_it_is_connected(self) -> None:
        assert self.broker.connected is True

    @pytest.mark.parametrize("envelope", ENVELOPES)
    def test_an_envelope_is_delivered_once_and_unchanged(self, envelope: Envelope) -> None:
        self.publish(envelope)

        assert self.delivered == [envelope]
        assert type(self.delivered[0]) is type(envelope)

    def test_publish_returns_true(self) -> None:
        assert [self.broker.publish(envelope) for envelope in ENVELOPES] == [True] * len(ENVELOPES)

    def test_envelopes_are_delivered_in_order(self) -> None:
        sent = [_publication("1", f"c{n % 3}", str(n)) for n in range(100)]
        self.publish(*sent)

        for channel in ("c0", "c1", "c2"):
            expected = [envelope for envelope in sent if envelope.channel == channel]
            assert [e for e in self.delivered if e in expected] == expected

    def test_the_publishing_node_is_served_before_publish_returns(self) -> None:
        self.broker.publish(FIRST)

        assert self.delivered == [FIRST]

    def test_a_publication_made_during_a_delivery_is_delivered(self) -> None:
        response = _publication("1", "news", "response")

        class Responding(list[Envelope]):
            def append(inner, envelope: Envelope) -> None:
                super().append(envelope)
                if envelope == FIRST:
                    self.broker.publish(response)

        self.wait(self.broker.stop())
        self.broker = self.make_broker()
        self.delivered = Responding()
        self.start(self.broker, self.delivered)
        self.publish(FIRST)
        self.settle()

        assert self.delivered == [FIRST, response]

    def test_a_publication_after_the_stop_is_dropped_without_an_error(self) -> None:
        self.wait(self.broker.stop())
        self.broker.publish(FIRST)

        assert self.delivered == []

    def test_it_can_be_stopped_twice(self) -> None:
        self.wait(self.broker.stop())
        self.wait(self.broker.stop())


class SharedBrokerContract(_Suite):
    """The test suite for a broker that connects nodes; each test uses two nodes.

    A subclass overrides the same methods as a subclass of :class:`BrokerContract`. The suite calls
    ``make_broker()`` twice for each test; the two brokers must reach each other.
    """

    @pytest.fixture(autouse=True)
    def _make(self, deployment: None) -> Iterator[None]:
        self.one, self.other = self.make_broker(), self.make_broker()
        self.at_one: list[Envelope] = []
        self.at_other: list[Envelope] = []
        self.start(self.one, self.at_one)
        self.start(self.other, self.at_other)
        for broker in (self.one, self.other):
            self.wait(broker.subscribe("1", "news"))
        yield
        for broker in (self.one, self.other):
            self.wait(broker.stop())

    def test_both_nodes_get_each_publication_once_and_in_order(self) -> None:
        ours = [_publication("1", "news", f"one {n}") for n in range(300)]
        theirs = [_publication("1", "news", f"other {n}") for n in range(300)]
        for our, their in zip(ours, theirs, strict=True):
            self.one.publish(our)
            self.other.publish(their)
        self.settle()

        for delivered in (self.at_one, self.at_other):
            assert len(delivered) == 600
            assert [envelope for envelope in delivered if envelope in ours] == ours
            assert [envelope for envelope in delivered if envelope in theirs] == theirs

    def test_local_delivery_does_not_wait_for_the_other_node(self) -> None:
        self.one.publish(FIRST)
        assert self.at_one == [FIRST]

    def test_an_envelope_reaches_the_other_node_unchanged(self) -> None:
        sent: list[Envelope] = [
            _publication("1", "news", _LARGE, "1.1"),
            Termination("1", "ann"),
        ]
        for envelope in sent:
            self.one.publish(envelope)
            self.settle()

        assert self.at_other == sent

    def test_a_node_gets_only_the_channels_that_it_is_subscribed_to(self) -> None:
        self.one.publish(_publication("1", "other", "1"))
        self.one.publish(_publication("2", "news", "2"))
        self.settle()
        assert self.at_other == []

        self.wait(self.other.subscribe("1", "other"))
        expected = _publication("1", "other", "3")
        self.one.publish(expected)
        self.settle()
        assert self.at_other == [expected]

    def test_a_confirmed_subscription_receives_all_later_publications(self) -> None:
        sent = [_publication("1", f"channel-{n}", str(n)) for n in range(50)]
        for envelope in sent:
            self.wait(self.other.subscribe("1", envelope.channel))
            self.one.publish(envelope)
            assert self.other.subscribe("1", envelope.channel) is None
        self.settle()

        assert sorted(self.at_other, key=sent.index) == sent  # type: ignore[arg-type]

    def test_a_new_subscription_cancels_a_pending_unsubscription(self) -> None:
        self.other.unsubscribe("1", "news")
        self.wait(self.other.subscribe("1", "news"))
        self.one.publish(FIRST)
        self.settle()

        assert self.at_other == [FIRST]

    @pytest.mark.parametrize("channel", UNUSUAL_NAMES)
    def test_each_legal_name_is_a_separate_channel(self, channel: str) -> None:
        for name in UNUSUAL_NAMES:
            if name != channel:
                self.wait(self.other.subscribe("1", name))
        for name in (channel, "news"):
            self.one.publish(_publication("1", name, "x"))
        self.settle()

        assert self.at_other == [_publication("1", "news", "x")]

    def test_the_other_node_continues_when_one_stops(self) -> None:
        self.wait(self.one.stop())
        self.other.publish(FIRST)
        self.settle()

        assert (self.at_one, self.at_other) == ([], [FIRST])
