"""The steps of sessions: one in flight for each session, and what is queued behind it."""

from twisted.internet.defer import Deferred, succeed

from reverb.hub.steps import StepQueue
from reverb.interfaces import StoreRefusedError
from reverb.protocol.codes import ClientError


class FakeSession:
    """The part of a session that a step queue uses."""

    socket_id = "1.1"

    def __init__(self):
        self.errors = []
        self.failed_channels = []

    def send_error(self, error, channel):
        self.errors.append(error.message)
        self.failed_channels.append(channel)


async def wait_for(deferred):
    await deferred


def test_a_step_that_does_not_wait_is_done_at_once():
    steps, session = StepQueue(), FakeSession()

    assert steps.run(session, wait_for(succeed(None))) is None
    assert len(steps) == 0


def test_a_step_that_waits_is_in_flight_until_it_is_done():
    steps, session, answer = StepQueue(), FakeSession(), Deferred()
    done = steps.run(session, wait_for(answer))
    assert (len(steps), done.called) == (1, False)

    answer.callback(None)
    assert (len(steps), done.called) == (0, True)


def test_what_runs_after_waits_for_the_step_in_flight_of_its_own_session():
    steps, one, other, answer = StepQueue(), FakeSession(), FakeSession(), Deferred()
    steps.run(one, wait_for(answer))
    called = []
    steps.run_after(one, lambda: called.append("one"))
    steps.run_after(other, lambda: called.append("other"))
    assert called == ["other"]

    answer.callback(None)
    assert called == ["other", "one"]


def test_what_runs_after_may_start_steps_of_its_own():
    steps, session, first = StepQueue(), FakeSession(), Deferred()
    second, third = Deferred(), Deferred()
    steps.run(session, wait_for(first))
    steps.run_after(session, lambda: [steps.run(session, wait_for(d)) for d in (second, third)])
    first.callback(None)
    assert len(steps) == 1

    second.callback(None)
    third.callback(None)
    assert len(steps) == 0


def test_a_failed_step_lets_the_next_one_run():
    steps, session, answer = StepQueue(), FakeSession(), Deferred()
    steps.run(session, wait_for(answer))
    called = []
    steps.run_after(session, lambda: called.append("after"))
    answer.errback(StoreRefusedError("corrupt"))

    assert called == ["after"]
    assert session.errors == ["The server could not do this now; try again"]
    assert len(steps) == 0


def test_an_error_of_the_client_is_sent_to_it():
    async def refuse():
        raise ClientError("no")

    steps, session = StepQueue(), FakeSession()
    assert steps.run(session, refuse()) is None
    assert steps.run(session, refuse(), "news") is None
    assert session.errors == ["no", "no"]
    assert session.failed_channels == [None, "news"]


def test_an_error_of_the_server_is_logged_and_not_shown(logged):
    async def fail():
        raise ZeroDivisionError("secret")

    steps, session = StepQueue(), FakeSession()
    assert steps.run(session, fail()) is None
    assert session.errors == ["The server could not do this now; try again"]
    assert len(logged.flush(ZeroDivisionError)) == 1
