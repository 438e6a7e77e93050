"""A channel store whose calls the test completes or fails explicitly."""

import msgspec
from twisted.internet.defer import Deferred, fail
from zope.interface import directlyProvides

from reverb.interfaces import IChannelStore
from reverb.protocol.changes import JoinResult
from reverb.stores.memory import MemoryStore


class HeldCall:
    """One call that has not returned yet."""

    def __init__(self, name, arguments, apply):
        self.name = name
        self.arguments = arguments
        self.apply = apply
        self.answer = Deferred()


class SlowStore:
    """A memory store that can hold back the calls of some methods.

    Attributes:
        holds: The names of the methods whose calls are held until :meth:`fire`.
        fails: The exception that a method fails with, by the method's name.
        applies_at_once: Whether a held call takes effect when it is made, as
            when only the answer of a remote store is late; otherwise it takes
            effect when it is fired.
        held_calls: The held calls, the oldest first.
    """

    def __init__(self, seconds):
        self._inner = MemoryStore(seconds)
        self.holds = set()
        self.fails = {}
        self.applies_at_once = False
        self.held_calls = []
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
            held = HeldCall(name, arguments, apply)
            self.held_calls.append(held)
            return held.answer

        return call

    @property
    def pending_calls(self):
        """The names of the methods of the held calls."""
        return [held.name for held in self.held_calls]

    def fire(self, index=0):
        """Complete one held call."""
        held = self.held_calls.pop(index)
        held.apply().chainDeferred(held.answer)

    def fire_all(self):
        """Complete all held calls, including those that the results lead to."""
        while self.held_calls:
            self.fire()

    def fail(self, error, index=0):
        """Fail one held call."""
        self.held_calls.pop(index).answer.errback(error)


def snapshot(deferred):
    """Copy a result, so that later changes do not affect it, as with a remote store."""

    def copied(result):
        if isinstance(result, JoinResult):
            return msgspec.structs.replace(result, members=dict(result.members))
        return result

    return deferred.addCallback(copied)
