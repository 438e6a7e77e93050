"""One attempt to send a delivery, and its outcome."""

import pytest
from twisted.internet.defer import CancelledError, Deferred, fail, succeed

from reverb.apps import App, Webhook
from reverb.static_apps import StaticApps
from reverb.testing import WebhookReceiver
from reverb.webhooks.attempts import Attempts, Outcome
from reverb.webhooks.delivery import Delivery

URL = "http://x"
BODY = b'{"time_ms":1,"events":[]}'
APP = App(id="1", key="key", secret="secret", webhooks=(Webhook(url=URL),))


class Journal:
    def __init__(self):
        self.writing = succeed(None)

    def written(self):
        return self.writing


@pytest.fixture
def receiver():
    return WebhookReceiver()


@pytest.fixture
def journal():
    return Journal()


@pytest.fixture
def make(receiver, journal):
    """Make an attempt to send a delivery to a URL; return its Deferred."""
    attempts = Attempts(StaticApps([APP]), journal, receiver)

    def make_attempt(url=URL, app_id="1"):
        delivery = Delivery(id="1", app_id=app_id, url=url, body=BODY, created=1.0)
        return Deferred.fromCoroutine(attempts.make(delivery))

    return make_attempt


def test_a_request_is_signed_with_the_secret_of_the_app(make, receiver):
    assert make().result == Outcome(status=200)
    assert receiver.requests[0].is_signed_by(APP)


@pytest.mark.parametrize(
    ("answer", "outcome", "result"),
    [
        (204, Outcome(status=204), "delivered"),
        (500, Outcome(status=500, error="HTTP status 500"), "refused"),
        (
            302,
            Outcome(status=302, error="HTTP status 302, a redirect, which is not followed"),
            "refused",
        ),
        ("connection refused", Outcome(error="connection refused"), "failed"),
    ],
)
def test_the_outcome_is_that_of_the_response(make, receiver, answer, outcome, result):
    receiver.answer = answer

    assert make().result == outcome
    assert outcome.result == result


@pytest.mark.parametrize("target", [("http://y", "1"), (URL, "2")])
def test_a_webhook_that_is_no_longer_configured_is_given_up(make, receiver, target):
    outcome = make(*target).result

    assert outcome == Outcome(error="the app no longer has this webhook", permanent=True)
    assert receiver.requests == []


def test_an_unexpected_error_is_logged_and_may_be_retried(make, receiver, monkeypatch, log):
    monkeypatch.setattr(receiver, "post", lambda *_: fail(ValueError("no")))
    outcome = make().result

    assert outcome == Outcome(error="the server failed to send the request: ValueError")
    assert len(log.problems()) == 1


def test_nothing_is_sent_before_the_journal_has_stored_it(make, journal, receiver):
    journal.writing = Deferred()
    make()
    assert receiver.requests == []

    journal.writing.callback(None)
    assert len(receiver.requests) == 1


def test_a_cancelled_attempt_has_no_outcome(make, receiver):
    receiver.answer = None
    attempt = make()
    attempt.cancel()
    attempt.addErrback(lambda failure: failure.trap(CancelledError))

    assert attempt.result is CancelledError
