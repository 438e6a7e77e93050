"""A channel store that answers when the test says so, and fails when it says so."""

import msgspec
from twisted.internet.defer import Deferred, fail
from zope.interface import directlyProvides

from reverb.interfaces import IChannelStore, JoinResult
from reverb.stores.memory import MemoryStore


class Held:
    """One call that has not been answered yet."""

    def __init__(self, name, arguments, apply):
        self.name = name
        self.arguments = arguments
        self.apply = apply
        self.answer = Deferred()


class SlowStore:
    """A memory store, of which some methods are held back.

    Attributes:
        holds: Names of the methods whose calls wait for :meth:`fire`.
        fails: The exception that each method of a name fails with.
        applies_at_once: Whether a held call has its effect when it is made, as
            when only the answer of a remote store is late; otherwise it has it
            when it is fired.
        waiting: The calls that are held.
    """

    def __init__(self, seconds):
        self._inner = MemoryStore(seconds)
        self.holds = set()
        self.fails = {}
        self.applies_at_once = False
        self.waiting = []
        directlyProvides(self, IChannelStore)

    def __getattr__(self, name):
        method = getattr(self._inner, name)

        def call(*arguments):
            if name in self.fails:
                return fail(self.fails[name])
            if name not in self.holds:
                return method(*arguments)
            apply = lambda: snapshot(method(*arguments))  # noqa: E731
            if self.applies_at_once:
                result = apply()
                apply = lambda: result  # noqa: E731
            held = Held(name, arguments, apply)
            self.waiting.append(held)
            return held.answer

        return call

    @property
    def asked(self):
        """The names of the calls that wait."""
        return [held.name for held in self.waiting]

    def fire(self, index=0):
        """Answer one call."""
        held = self.waiting.pop(index)
        held.apply().chainDeferred(held.answer)

    def fire_all(self):
        """Answer every call, and those that follow from the answers."""
        while self.waiting:
            self.fire()

    def fail(self, error, index=0):
        """Fail one call."""
        self.waiting.pop(index).answer.errback(error)


def snapshot(deferred):
    """Make an answer one that does not change any more, as a remote store's."""

    def copied(result):
        if isinstance(result, JoinResult):
            return msgspec.structs.replace(result, members=dict(result.members))
        return result

    return deferred.addCallback(copied)
