"""Steps that are done at once, and steps that wait."""

import gc

import pytest
from twisted.internet.defer import Deferred, fail, succeed

from reverb.hub.eager import run_eagerly


async def taking(*awaited, results):
    for deferred in awaited:
        try:
            results.append(await deferred)
        except ZeroDivisionError:
            results.append("caught")
        except KeyError:
            raise LookupError from None


def test_a_step_that_need_not_wait_is_done_when_run_returns():
    results = []

    assert run_eagerly(taking(succeed(1), fail(ZeroDivisionError()), results=results)) is None
    assert results == [1, "caught"]


def test_what_it_raises_before_it_waits_is_raised():
    with pytest.raises(LookupError):
        run_eagerly(taking(fail(KeyError()), results=[]))


def test_a_step_that_waits_fires_when_it_is_done():
    results, first, second = [], Deferred(), Deferred()
    fired = []

    done = run_eagerly(taking(succeed(0), first, succeed(1), second, results=results))
    done.addCallback(fired.append)
    assert (results, fired) == ([0], [])
    first.callback("a")
    assert (results, fired) == ([0, "a", 1], [])
    second.errback(ZeroDivisionError())
    assert (results, fired) == ([0, "a", 1, "caught"], [None])


def test_what_it_raises_later_fails_it():
    waits = Deferred()
    failures = []

    run_eagerly(taking(waits, results=[])).addErrback(failures.append)
    waits.errback(KeyError())

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
