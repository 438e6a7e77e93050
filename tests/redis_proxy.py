"""A way to Redis that can be cut: nothing goes through, and nobody is told."""

from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol

from redis_nodes import wait


class _Pipe(Protocol):
    """One end; what comes in goes out at the other."""

    def __init__(self, proxy):
        self.proxy = proxy
        self.peer = None

    def connectionMade(self):
        self.proxy.pipes.append(self)
        self.transport.pauseProducing()

    def join(self, peer):
        self.peer, peer.peer = peer, self
        for pipe in (self, peer):
            if not self.proxy.is_cut:
                pipe.transport.resumeProducing()

    def dataReceived(self, data):
        self.peer.transport.write(data)

    def connectionLost(self, reason):
        self.proxy.pipes.remove(self)
        if self.peer is not None:
            self.peer.transport.loseConnection()


class Proxy(Factory):
    """Listens on a port of its own, and passes everything on to another."""

    noisy = False

    def __init__(self, port):
        self.pipes = []
        self.is_cut = False
        self._target = TCP4ClientEndpoint(reactor, "127.0.0.1", port)
        self._listening = wait(TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(self))
        self.port = self._listening.getHost().port

    def buildProtocol(self, addr):
        pipe = _Pipe(self)
        connectProtocol(self._target, _Pipe(self)).addCallback(pipe.join)
        return pipe

    def cut(self):
        """Hold back what comes, in both directions, also on new connections."""
        self.is_cut = True
        for pipe in self.pipes:
            pipe.transport.pauseProducing()

    def mend(self):
        """Let everything through that has been held back, and what comes."""
        self.is_cut = False
        for pipe in self.pipes:
            if pipe.peer is not None:
                pipe.transport.resumeProducing()

    def stop(self):
        wait(self._listening.stopListening())
        for pipe in list(self.pipes):
            pipe.transport.abortConnection()
