"""The broker of a single node, beyond the contract."""

from reverb.brokers.local import LocalBroker
from reverb.envelope import Publication

ENVELOPE = Publication("1", "news", b"{}")


def test_it_starts_and_stops_at_once():
    broker = LocalBroker()

    assert broker.start(print).called
    assert broker.stop().called


def test_a_publication_before_the_start_is_dropped():
    broker, delivered = LocalBroker(), []
    broker.publish(ENVELOPE)
    broker.start(delivered.append)

    assert delivered == []


def test_it_delivers_the_same_object():
    broker, delivered = LocalBroker(), []
    broker.start(delivered.append)
    broker.publish(ENVELOPE)

    assert delivered[0] is ENVELOPE


def test_it_can_be_started_again():
    broker, delivered = LocalBroker(), []
    broker.start(print)
    broker.stop()
    broker.start(delivered.append)
    broker.publish(ENVELOPE)

    assert delivered == [ENVELOPE]
