"""One attempt to send a delivery: an HTTP request, signed with the app's present secret."""

import msgspec
from twisted.internet.defer import CancelledError
from twisted.logger import Logger

import reverb
from reverb.apps import App, Webhook
from reverb.interfaces import IApps
from reverb.protocol.signing import sign
from reverb.throttled_log import FailureLog
from reverb.webhooks.delivery import Delivery
from reverb.webhooks.interfaces import IJournal, IWebhookTransport, WebhookTransportError

_USER_AGENT = f"twisted-reverb/{reverb.__version__}"


class Outcome(msgspec.Struct, frozen=True):
    """The outcome of one attempt to send a delivery."""

    status: int | None = None
    """The status of the response; None if there was no response."""
    error: str | None = None
    """Why the attempt failed; None if the endpoint accepted the request."""
    permanent: bool = False
    """Whether to give up at once, because no retry can succeed."""

    @property
    def accepted(self) -> bool:
        """Whether the endpoint accepted the request: its response has a 2xx status."""
        return self.status is not None and 200 <= self.status < 300  # noqa: PLR2004 - the 2xx

    @property
    def result(self) -> str:
        """A label for metrics: ``delivered``, ``refused`` (not 2xx) or ``failed`` (no response)."""
        if self.accepted:
            return "delivered"
        return "failed" if self.status is None else "refused"


class Attempts:
    """Makes attempts to send deliveries.

    Args:
        apps: Provides secrets and endpoints; each attempt looks up the delivery's app.
        journal: Says when a recorded delivery may be sent.
        transport: Sends the requests.
    """

    def __init__(self, apps: IApps, journal: IJournal, transport: IWebhookTransport) -> None:
        self._log = FailureLog(Logger())
        self._apps = apps
        self._journal = journal
        self._transport = transport

    async def make(self, delivery: Delivery) -> Outcome:
        """Wait until the journal lets a delivery be sent, then make one attempt.

        Returns:
            The outcome of the attempt, whether the attempt succeeded or failed.

        Raises:
            CancelledError: The attempt was cancelled.
        """
        try:
            await self._journal.written()
            app = await self._apps.by_id(delivery.app_id)
            webhook = None if app is None else app.webhook(delivery.url)
            if app is None or webhook is None:
                return Outcome(error="the app no longer has this webhook", permanent=True)
            headers = make_headers(app, webhook, delivery.body)
            status = await self._transport.post(delivery.url, headers, delivery.body)
        except CancelledError:
            raise
        except WebhookTransportError as error:
            return Outcome(error=str(error))
        except Exception as error:  # noqa: BLE001 - a retry may succeed
            self._log.failure("sending a webhook to {url} failed", url=delivery.url)
            return Outcome(error=f"the server failed to send the request: {type(error).__name__}")
        outcome = Outcome(status=status)
        return outcome if outcome.accepted else Outcome(status=status, error=_status_error(status))


def make_headers(app: App, webhook: Webhook, body: bytes) -> dict[str, str]:
    """Return the headers of a webhook request.

    ``Content-Type`` has no charset, because Pusher's SDK for Node compares the whole value. A
    ``User-Agent`` among the webhook's headers replaces the server's.
    """
    headers = {"User-Agent": _USER_AGENT}
    if any(name.lower() == "user-agent" for name in webhook.headers):
        headers = {}
    return headers | {
        **webhook.headers,
        "Content-Type": "application/json",
        "X-Pusher-Key": app.key,
        "X-Pusher-Signature": sign(app.secret, body),
    }


def _status_error(status: int) -> str:
    if 300 <= status < 400:  # noqa: PLR2004 - the 3xx
        return f"HTTP status {status}, a redirect, which is not followed"
    return f"HTTP status {status}"
