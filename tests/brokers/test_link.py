"""A link's states and the order in which it calls its observers, without a server."""

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from reverb.brokers.link import Link
from reverb.brokers.link_observer import ConnectPhase, LinkObserver
from reverb.state_machine import IllegalTransitionError


class FakeLink(Link):
    """A link to nothing: the test decides when the connection is made and when it is lost."""

    service_name = "Fake"
    address = "nowhere"

    def __init__(self):
        super().__init__(reactor=Clock(), node="n", prefix="p")
        self.connecting = None
        self.lost = None
        self.flushing = succeed(None)

    async def _connect(self):
        self.connecting = Deferred()
        await self.connecting
        self.lost = Deferred()
        return self.lost

    def _disconnect(self, why):
        lost, self.lost = self.lost, None
        if lost is not None:
            lost.callback(why)

    def _ping(self):
        return succeed(None)

    def _flushed(self):
        return self.flushing

    def accept(self):
        """Accept the connection that the link makes."""
        self.connecting.callback(None)


class Recorder(LinkObserver):
    """Records each call; a test may let the connect wait or fail."""

    def __init__(self, name, calls, prepared=None):
        self.name, self.calls, self.prepared = name, calls, prepared

    async def link_connected(self):
        self.calls.append(f"{self.name} connected")
        if self.prepared is not None:
            await self.prepared

    def link_lost(self):
        self.calls.append(f"{self.name} lost")


@pytest.fixture
def link():
    return FakeLink()


@pytest.fixture
def calls():
    return []


def start(link):
    link.start(lambda name, message: None)


def test_observers_are_called_in_the_order_of_their_phases(link, calls):
    link.observe(ConnectPhase.ANNOUNCE, Recorder("announce", calls))
    link.observe(ConnectPhase.REGISTER, Recorder("register", calls))
    link.observe(ConnectPhase.SUBSCRIBE, Recorder("subscribe", calls))
    link.observe(ConnectPhase.REGISTER, Recorder("register, too,", calls))
    start(link)
    link.accept()

    assert calls == [
        "subscribe connected",
        "register connected",
        "register, too, connected",
        "announce connected",
    ]


def test_the_link_is_open_before_it_is_up(link, calls):
    prepared = Deferred()
    link.observe(ConnectPhase.REGISTER, Recorder("register", calls, prepared))
    start(link)
    assert not link.is_open
    link.accept()
    assert link.is_open
    assert not link.is_up
    assert link.unavailable_reason == "Fake is not connected: it has not answered yet"
    prepared.callback(None)

    assert link.is_up
    assert link.unavailable_reason is None


def test_a_failed_observer_ends_the_connection_and_the_link_reconnects(link, calls):
    link.observe(ConnectPhase.REGISTER, Recorder("a", calls, fail(ValueError("no"))))
    link.observe(ConnectPhase.REGISTER, Recorder("b", calls))
    start(link)
    link.accept()
    assert calls == ["a connected", "a lost", "b lost"]
    assert link.unavailable_reason == "Fake is not connected: no"
    first = link.connecting
    link.clock.advance(2)

    assert link.connecting is not first


def test_a_lost_connection_is_reported_once_and_made_again(link, calls):
    link.observe(ConnectPhase.REGISTER, Recorder("a", calls))
    start(link)
    link.accept()
    link.reset("the test says so")
    link.reset("again")
    assert calls == ["a connected", "a lost"]
    assert link.unavailable_reason == "Fake is not connected: the test says so"
    link.clock.advance(2)
    link.accept()

    assert link.is_up
    assert link.bus_meter.reconnects == 1


def test_a_connection_that_was_never_open_is_not_reported_as_lost(link, calls):
    link.observe(ConnectPhase.REGISTER, Recorder("a", calls))
    start(link)
    link.connecting.errback(ConnectionRefusedError("refused"))

    assert calls == []
    assert link.unavailable_reason == "Fake is not connected: refused"


@pytest.mark.parametrize("state", ["connecting", "preparing", "up", "waiting"])
def test_a_link_stops_in_every_state_and_may_start_again(link, calls, state):
    observer = Recorder("a", calls, Deferred() if state == "preparing" else None)
    link.observe(ConnectPhase.REGISTER, observer)
    start(link)
    if state != "connecting":
        link.accept()
    if state == "waiting":
        link.reset("the test says so")
    stopped = link.stop()
    assert stopped.called
    assert link.unavailable_reason == "Fake is not connected: the node is stopping"
    assert link.clock.getDelayedCalls() == []
    observer.prepared = None
    start(link)
    link.accept()

    assert link.is_up


def test_a_link_that_drains_may_still_send_until_the_server_has_read_everything(link):
    start(link)
    link.accept()
    link.flushing = Deferred()
    stopped = link.stop()
    assert link.is_open
    assert not stopped.called
    link.flushing.callback(None)

    assert stopped.called
    assert not link.is_open


@pytest.mark.parametrize("ends", [lambda link: link.reset("lost"), lambda link: None])
def test_draining_ends_with_the_connection_or_after_a_timeout(link, ends):
    start(link)
    link.accept()
    link.flushing = Deferred()
    stopped = link.stop()
    ends(link)
    link.clock.advance(3)

    assert stopped.called
    assert not link.is_open


def test_a_link_cannot_be_started_twice(link):
    start(link)

    with pytest.raises(IllegalTransitionError):
        start(link)
