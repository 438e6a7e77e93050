from reverb.apps import App, Webhook
from reverb.backends import WrongReactorError
from reverb.envelope import CountChanged, Envelope, Publication, Termination
from reverb.interfaces import (
    CachedEvent,
    ChannelCounts,
    ChannelFullError,
    IApps,
    IBroker,
    IChannelStore,
    StoreRefusedError,
)
from reverb.protocol.changes import (
    ChannelReaped,
    JoinResult,
    LeaveResult,
    MemberJoined,
    MemberLeft,
    StoreChange,
    StoreRestored,
)
from reverb.protocol.events import EventError
from reverb.protocol.messages import Member
from reverb.protocol.notices import (
    CacheMiss,
    ChannelOccupied,
    ChannelVacated,
    ClientEvent,
    Connected,
    Disconnected,
    MemberAdded,
    MemberRemoved,
    Notice,
    SubscriptionCount,
)
from reverb.runtime import Runtime
from reverb.service import ReverbService
from reverb.settings import Settings, WebhookSettings
from reverb.transport.http_resource import HttpResource
from reverb.validation import InvalidArgumentError
from reverb.webhooks.events import WebhookEvent
from reverb.webhooks.interfaces import (
    IWebhookEventSource,
    IWebhookTransport,
    JournalError,
    WebhookTransportError,
)

__version__: str

__all__ = [
    "App",
    "CacheMiss",
    "CachedEvent",
    "ChannelCounts",
    "ChannelFullError",
    "ChannelOccupied",
    "ChannelReaped",
    "ChannelVacated",
    "ClientEvent",
    "Connected",
    "CountChanged",
    "Disconnected",
    "Envelope",
    "EventError",
    "HttpResource",
    "IApps",
    "IBroker",
    "IChannelStore",
    "IWebhookEventSource",
    "IWebhookTransport",
    "InvalidArgumentError",
    "JoinResult",
    "JournalError",
    "LeaveResult",
    "Member",
    "MemberAdded",
    "MemberJoined",
    "MemberLeft",
    "MemberRemoved",
    "Notice",
    "Publication",
    "ReverbService",
    "Runtime",
    "Settings",
    "StoreChange",
    "StoreRefusedError",
    "StoreRestored",
    "SubscriptionCount",
    "Termination",
    "Webhook",
    "WebhookEvent",
    "WebhookSettings",
    "WebhookTransportError",
    "WrongReactorError",
]
