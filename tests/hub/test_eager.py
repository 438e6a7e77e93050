"""Coroutines that run to their end synchronously, and coroutines that suspend."""

import gc

import pytest
from twisted.internet.defer import Deferred, fail, succeed

from reverb.hub.eager import run_eagerly


async def await_all(*awaited, results):
    for deferred in awaited:
        try:
            results.append(await deferred)
        except ZeroDivisionError:
            results.append("caught")
        except KeyError:
            raise LookupError from None


def test_a_step_that_does_not_suspend_is_done_at_once():
    results = []

    assert run_eagerly(await_all(succeed(1), fail(ZeroDivisionError()), results=results)) is None
    assert results == [1, "caught"]


def test_an_exception_before_the_first_suspension_is_raised():
    with pytest.raises(LookupError):
        run_eagerly(await_all(fail(KeyError()), results=[]))


def test_the_deferred_fires_when_the_step_is_done():
    results, first, second = [], Deferred(), Deferred()
    fired = []

    done = run_eagerly(await_all(succeed(0), first, succeed(1), second, results=results))
    done.addCallback(fired.append)
    assert (results, fired) == ([0], [])
    first.callback("a")
    assert (results, fired) == ([0, "a", 1], [])
    second.errback(ZeroDivisionError())
    assert (results, fired) == ([0, "a", 1, "caught"], [None])


def test_a_later_exception_fails_the_deferred():
    awaited = Deferred()
    failures = []

    run_eagerly(await_all(awaited, results=[])).addErrback(failures.append)
    awaited.errback(KeyError())

    assert failures[0].check(LookupError)


def test_a_step_that_is_never_resumed_is_closed():
    closed = []

    async def step():
        try:
            await Deferred()
        finally:
            closed.append(True)

    done = run_eagerly(step())
    del done
    gc.collect()

    assert closed == [True]
