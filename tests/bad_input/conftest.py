"""What the tests of bad input share: a server under attack, and a client that must not notice."""

import gc

import msgspec
import pytest
from twisted.logger import globalLogPublisher

from reverb.testing import APP, MemoryServer, frame
from support import Log, Wire


class Attacked:
    """A server, with a healthy client that is subscribed all along."""

    def __init__(self, log, **changes):
        self.log = log
        self.server = MemoryServer(
            msgspec.structs.replace(APP, **changes),
            handshake_timeout=5,
            request_timeout=5,
            signature_tolerance=1_000_000,  # time passes, signatures were made before
        )
        self.healthy = self.server.client()
        self.healthy.subscribe("news")
        self.healthy.take()
        self.published = 0

    def check(self):
        """Check that the healthy client gets a publication, and that nothing was logged."""
        assert self.log.problems() == []
        self.published += 1
        self.server.publish("news", "event", str(self.published))
        events = self.healthy.take()
        assert [e["data"] for e in events if e["event"] == "event"] == [str(self.published)]
        assert self.healthy.connected

    def check_client(self, client):
        """Check that a client's connection has ended, or still can be used."""
        try:
            self._use(client)
        finally:
            client.vanish()
            self.server.clients[:] = [self.healthy]
            self.healthy.take()
        self.check()
        sessions = self.server.service.hub.sessions
        assert set(sessions) == {self.healthy.socket_id}
        assert len(self.server.service._websockets.connections) == 1

    def _use(self, client):
        if client.connected and client.close_code is None:
            client.take()
            # It may be in the middle of a frame, of a message, or neither.
            client.send_raw(frame(b"", opcode=9))
            client.send('{"event":"pusher:ping","data":{}}')

    def stop(self):
        self.server.stop()
        assert self.log.problems() == []
        assert not self.server.service.factory.doors


@pytest.fixture
def attack(log):
    """Set up a server under attack; at the end it must stop and leave nothing behind."""
    attacked = []

    def make(**changes):
        attacked.append(Attacked(log, **changes))
        return attacked[-1]

    yield make
    for one in attacked:
        one.stop()


@pytest.fixture(scope="module", autouse=True)
def nothing_unhandled():
    """Collect what is left over after each file: an error nobody handled is logged then."""
    log = Log()
    globalLogPublisher.addObserver(log)
    yield
    gc.collect()
    globalLogPublisher.removeObserver(log)
    assert log.problems() == []


@pytest.fixture
def attacked(attack):
    return attack()


@pytest.fixture
def wire():
    """Open raw connections to a server."""
    return Wire
