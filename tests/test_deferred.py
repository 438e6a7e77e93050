"""Coroutine functions whose callers get a Deferred."""

import pytest
from twisted.internet.defer import CancelledError, Deferred, succeed
from zope.interface import Interface, implementer
from zope.interface.verify import verifyClass, verifyObject

from reverb.deferred import returns_deferred


class IAdder(Interface):
    def add(amount, *, times):
        """Add."""


@implementer(IAdder)
class Adder:
    """Adds to a number that it must wait for."""

    def __init__(self, number):
        self.number = number

    @returns_deferred
    async def add(self, amount, *, times=1):
        """Add."""
        return await self.number + amount * times


def results(deferred):
    found = []
    deferred.addBoth(found.append)
    return found


def test_what_need_not_wait_fires_at_once():
    assert results(Adder(succeed(1)).add(2, times=3)) == [7]


def test_what_waits_fires_later():
    number = Deferred()
    found = results(Adder(number).add(2))
    assert found == []

    number.callback(1)
    assert found == [3]


def test_an_exception_becomes_a_failure():
    (failure,) = results(Adder(succeed("1")).add(2))

    assert failure.check(TypeError)


def test_a_wrong_call_fails_where_it_is_made():
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        Adder(succeed(1)).add()


def test_cancelling_cancels_what_the_coroutine_waits_for():
    number = Deferred()
    adding = Adder(number).add(2)
    found = results(adding)
    adding.cancel()

    assert number.called
    assert found[0].check(CancelledError)


def test_a_method_still_satisfies_an_interface():
    assert verifyClass(IAdder, Adder)
    assert verifyObject(IAdder, Adder(succeed(1)))


def test_the_docstring_stays():
    assert Adder.add.__doc__ == "Add."
