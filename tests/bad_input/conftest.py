"""Fixtures for the tests of bad input: a server under attack, with a healthy client."""

import msgspec
import pytest

from reverb.testing import APP, MemoryServer, frame


class AttackedServer:
    """A server with a healthy client, whose subscription must not be affected."""

    def __init__(self, log, **changes):
        self.log = log
        self.server = MemoryServer(
            msgspec.structs.replace(APP, **changes),
            handshake_timeout=5,
            request_timeout=5,
            signature_tolerance=1_000_000,  # Time advances after the requests are signed.
        )
        self.healthy = self.server.client()
        self.healthy.subscribe("news")
        self.healthy.take()
        self.published = 0

    def check(self):
        """Check that the healthy client receives a publication, and that no failure was logged."""
        assert self.log.problems() == []
        self.published += 1
        self.server.publish("news", "event", str(self.published))
        events = self.healthy.take()
        assert [e["data"] for e in events if e["event"] == "event"] == [str(self.published)]
        assert self.healthy.connected

    def check_client(self, client):
        """Check that a client's connection is closed or usable, and leaves nothing behind."""
        try:
            self._use(client)
        finally:
            client.vanish()
            self.server.clients[:] = [self.healthy]
            self.healthy.take()
        self.check()
        assert set(self.server.service.hub.sessions) == {self.healthy.socket_id}
        assert self.server.service.sizes()["WebSocket connections"] == 1

    def _use(self, client):
        if client.connected and client.close_code is None:
            client.take()
            # The connection may be inside of a frame or of a fragmented message.
            client.send_raw(frame(b"", opcode=9))
            client.send('{"event":"pusher:ping","data":{}}')

    def stop(self):
        self.server.stop()
        assert self.log.problems() == []
        assert not self.server.service.factory.http_connections


@pytest.fixture
def attack(log):
    """Return a function that starts a server; at the end it must stop without open connections."""
    attacked = []

    def make(**changes):
        attacked.append(AttackedServer(log, **changes))
        return attacked[-1]

    yield make
    for one in attacked:
        one.stop()


@pytest.fixture
def attacked(attack):
    return attack()
