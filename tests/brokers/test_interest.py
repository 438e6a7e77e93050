"""A node subscribes and unsubscribes in bounded portions, and clients go ahead of them."""

import pytest
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock

from reverb.brokers.interest import PORTION, UNSUBSCRIBE_DELAY, Interest
from reverb.brokers.link import LinkLostError
from reverb.brokers.reply_deadlines import ReplyDeadlines

MANY = [b"c%d" % number for number in range(2 * PORTION + 1)]


class FakeLink:
    """A link whose server confirms a subscription when the test says so."""

    def __init__(self):
        self.clock = Clock()
        self.deadlines = ReplyDeadlines(self.clock)
        self.is_open = True
        self.sent = []
        self.confirmations = []
        self.unsubscribed = []

    def observe(self, phase, observer):
        pass

    def subscribe(self, names):
        if not self.is_open:
            return fail(LinkLostError("down"))
        self.sent.append(names)
        self.confirmations.append(Deferred())
        return self.confirmations[-1]

    def unsubscribe(self, name):
        self.unsubscribed.append(name)

    def confirm(self):
        self.confirmations.pop(0).callback(None)

    def lose(self, interest):
        self.is_open = False
        confirmations, self.confirmations = self.confirmations, []
        for confirmation in confirmations:
            confirmation.errback(LinkLostError("lost"))
        interest.link_lost()


@pytest.fixture
def link():
    return FakeLink()


@pytest.fixture
def interest(link):
    """The interest of a node with many names, whose link is down."""
    interest = Interest(link, b"all")
    link.is_open = False
    for name in MANY:
        assert interest.subscribe(name) is None
    return interest


def connect(link, interest):
    link.is_open = True
    return Deferred.fromCoroutine(interest.link_connected())


def test_each_portion_follows_the_confirmation_of_the_previous_one(link, interest):
    connecting = connect(link, interest)
    while link.confirmations:
        assert len(link.confirmations) == 1
        assert not connecting.called
        link.confirm()

    assert connecting.called
    assert [len(names) for names in link.sent] == [1, PORTION, PORTION, 1]
    assert sorted(name for names in link.sent for name in names) == sorted([b"all", *MANY])


def test_a_client_goes_ahead_of_the_portions_that_are_left(link, interest):
    connecting = connect(link, interest)
    link.confirm()
    subscribed = interest.subscribe(MANY[-1])
    assert link.sent[-1] == [MANY[-1]]
    assert not subscribed.called
    while link.confirmations:
        link.confirm()

    assert subscribed.called
    assert connecting.called
    assert [name for names in link.sent for name in names].count(MANY[-1]) == 1


def test_a_client_waits_for_its_portion_in_flight(link, interest):
    connect(link, interest)
    link.confirm()
    subscribed = interest.subscribe(MANY[0])
    assert len(link.sent) == 2
    assert not subscribed.called
    link.confirm()

    assert subscribed.called


def test_a_name_that_nobody_needs_any_more_is_not_sent(link, interest):
    connect(link, interest)
    link.confirm()
    interest.unsubscribe_later(MANY[-1])
    link.clock.advance(UNSUBSCRIBE_DELAY)
    while link.confirmations:
        link.confirm()

    assert MANY[-1] not in [name for names in link.sent for name in names]
    assert link.unsubscribed == []


def test_after_a_loss_half_way_everything_is_sent_again(link, interest):
    connecting = connect(link, interest)
    link.confirm()
    link.confirm()
    link.lose(interest)
    connecting.addErrback(lambda failure: failure.trap(LinkLostError))
    assert connecting.called
    link.sent.clear()
    connect(link, interest)
    while link.confirmations:
        link.confirm()

    assert sorted(name for names in link.sent for name in names) == sorted([b"all", *MANY])


def test_many_unsubscriptions_have_one_timer_and_take_several_turns(link, interest):
    connect(link, interest)
    while link.confirmations:
        link.confirm()
    for name in MANY:
        interest.unsubscribe_later(name)
    assert len(link.clock.getDelayedCalls()) == 1

    (call,) = link.clock.getDelayedCalls()
    link.clock.rightNow += UNSUBSCRIBE_DELAY
    call.func()
    assert link.unsubscribed == MANY[:PORTION]
    link.clock.advance(0)
    assert link.unsubscribed == MANY


def test_each_name_has_a_delay_of_its_own(link, interest):
    connect(link, interest)
    while link.confirmations:
        link.confirm()
    interest.unsubscribe_later(b"c0")
    link.clock.advance(UNSUBSCRIBE_DELAY / 2)
    interest.unsubscribe_later(b"c1")
    interest.unsubscribe_later(b"c2")
    assert interest.subscribe(b"c2") is None
    link.clock.advance(UNSUBSCRIBE_DELAY / 2)
    assert link.unsubscribed == [b"c0"]
    link.clock.advance(UNSUBSCRIBE_DELAY / 2)
    assert link.unsubscribed == [b"c0", b"c1"]
    assert link.clock.getDelayedCalls() == []


def test_stopping_cancels_the_timer(link, interest):
    connect(link, interest)
    interest.unsubscribe_later(b"c0")
    interest.stop()

    assert link.clock.getDelayedCalls() == []
