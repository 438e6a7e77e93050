"""The types of the public API, as an application sees them; ``make types`` checks this file.

It is never executed. A line with ``type: ignore`` must be an error, or mypy reports the comment.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, assert_type

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress
from zope.interface import implementer

import reverb
from reverb import (
    App,
    ClientEvent,
    Envelope,
    EventError,
    IApps,
    IBroker,
    InvalidArgumentError,
    IWebhookTransport,
    JoinResult,
    MemberAdded,
    MemberRemoved,
    Notice,
    Publication,
    ReverbService,
    Runtime,
    Settings,
    Webhook,
    WebhookEvent,
    WebhookSettings,
)
from reverb.testing import MemoryClient, MemoryServer, WebhookReceiver


def make_settings() -> Settings:
    webhook = Webhook(url="https://example.com", events=("member_added",), headers={"A": "b"})
    app = App(id="1", key="key", secret="secret", client_events="all", webhooks=(webhook,))
    assert_type(app.id, str)
    assert_type(app.max_connections, int)
    assert_type(app.webhooks, tuple[Webhook, ...])
    assert_type(app.webhook("https://example.com"), Webhook | None)
    return Settings(apps=(app,), port=0, webhooks=WebhookSettings(debounce=1))


def reject_wrong_settings() -> None:
    App(id=1001, key="key", secret="secret")  # type: ignore[arg-type]
    App(id="1", key="key")  # type: ignore[call-arg]
    App(id="1", key="key", secret="secret", client_events="yes")  # type: ignore[arg-type]
    Settings(port="8080")  # type: ignore[arg-type]
    Settings(webhooks={"debounce": 1})  # type: ignore[arg-type]
    Settings().port = 1  # type: ignore[misc]
    Webhook(url="http://x", events=("nothing",))  # type: ignore[arg-type]


@implementer(IApps)
class Apps:
    """A source of apps of an application's own."""

    def by_key(self, key: str) -> "Deferred[App | None]":
        return succeed(None)

    def by_id(self, app_id: str) -> "Deferred[App | None]":
        return succeed(None)


@implementer(IBroker)
class Broker:
    """A broker of an application's own."""

    connected = True
    unavailable_reason: str | None = None

    def start(self, deliver: Callable[[Envelope], None]) -> "Deferred[None]":
        deliver(Publication("1", "channel", b"{}"))
        deliver(ClientEvent)  # type: ignore[arg-type]
        return succeed(None)

    def stop(self) -> "Deferred[None]":
        return succeed(None)

    def subscribe(self, app_id: str, channel: str) -> "Deferred[None] | None":
        return None

    def unsubscribe(self, app_id: str, channel: str) -> None:
        pass

    def publish(self, envelope: Envelope) -> bool:
        if isinstance(envelope, Publication):
            assert_type(envelope.payload, bytes)
        return True


@implementer(IWebhookTransport)
class Transport:
    """A transport of an application's own."""

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> "Deferred[int]":
        return succeed(200)

    def stop(self) -> "Deferred[None]":
        return succeed(None)


def make_service(reactor: Any) -> ReverbService:
    service = ReverbService(
        make_settings(),
        apps=Apps(),
        broker=Broker(),
        webhook_transport=Transport(),
        runtime=Runtime(reactor=reactor, now=lambda: 0.0),
    )
    service.setServiceParent(MultiService())
    assert_type(service.settings, Settings)
    assert_type(service.addresses(), list[IAddress])
    assert_type(service.unavailable_reason(), str | None)
    assert_type(service.stopService(), Deferred[None])
    ReverbService(make_settings(), broker=Apps())  # type: ignore[arg-type]
    ReverbService(make_settings().apps)  # type: ignore[arg-type]
    return service


def publish(service: ReverbService, app: App, channels: Sequence[str]) -> None:
    try:
        assert_type(service.publish(app, channels, "event", {"a": [1]}, socket_id="1.1"), bool)
    except InvalidArgumentError as error:
        assert_type(error, InvalidArgumentError)
    except EventError as error:
        assert_type(error.too_large, bool)
    service.publish("1", channels, "event", "data")  # type: ignore[arg-type]
    service.publish(app, channels, 5, "data")  # type: ignore[arg-type]


def on_client_event(event: ClientEvent) -> None:
    assert_type(event.user_id, str | None)


def on_member(notice: MemberAdded | MemberRemoved) -> None:
    assert_type(notice.app_id, str)


def listen(service: ReverbService) -> None:
    service.on(ClientEvent, on_client_event)
    service.on(MemberAdded, on_member)
    service.on(Notice, lambda notice: assert_type(notice, Notice))
    service.on(WebhookEvent, lambda event: assert_type(event.fields, dict[str, Any]))
    service.on(MemberAdded, on_client_event)  # type: ignore[arg-type]
    service.on("MemberAdded", on_member)  # type: ignore[arg-type]


def use_results(result: JoinResult) -> None:
    assert_type(result.members, Mapping[str, str])
    assert_type(reverb.__version__, str)
    reverb.Nothing  # type: ignore[attr-defined]  # noqa: B018


def use_testing(app: App) -> None:
    server = MemoryServer(app, receiver=WebhookReceiver())
    assert_type(server.service, ReverbService)
    assert_type(server.client(), MemoryClient)
