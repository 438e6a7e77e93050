"""Admits a WebSocket client: checks its upgrade request, and opens a session or rejects it."""

from collections.abc import Callable
from typing import Any, Protocol

from reverb.apps import App
from reverb.hub.hub import Hub
from reverb.interfaces import IApps
from reverb.memoize import memoize_short_keys
from reverb.meter import Meter
from reverb.protocol.codes import Code
from reverb.protocol.handshake import (
    Rejection,
    check_app,
    check_origin,
    check_version,
    parse_key,
    parse_query,
)
from reverb.protocol.session import Session
from reverb.transport.connection_log import ConnectionLog
from reverb.transport.options import WebSocketOptions
from reverb.transport.wrapped_transport import close_socket

# Clients that use the same library and version send the same query.
_parse_query: Callable[[str], dict[str, str]] = memoize_short_keys(
    parse_query, max_entries=256, max_length=200
)


class AdmittingFactory(Protocol):
    """The part of :class:`reverb.transport.factory.PusherFactory` that :func:`admit` uses."""

    hub: Hub
    apps: IApps
    meter: Meter
    connection_log: ConnectionLog
    options: WebSocketOptions

    def check_admission(self, connection: Any) -> None:
        """Count a connection, or raise Rejection if the node is closing or has reached a limit."""


async def admit(
    factory: AdmittingFactory, connection: Any, uri: str, origin: str
) -> Session | None:
    """Open a session for a client, or reject the client.

    Args:
        factory: The factory of the connection.
        connection: The client's :class:`reverb.transport.websocket.PusherConnection`. The
            connection is closed if the client is rejected.
        uri: The path and the query of the upgrade request.
        origin: The Origin header of the upgrade request; empty if there is none.

    Returns:
        The session; None if the client is rejected, or has disconnected before its session opens.
    """
    path, _, query = uri.partition("?")
    app: App | None = None
    try:
        factory.check_admission(connection)
        key = parse_key(path, factory.options.path)
        check_version(_parse_query(query))
        app = await factory.apps.by_key(key)
        app = check_app(app, key)
        check_origin(app, origin)
        if connection.state != connection.STATE_OPEN:
            return None
        session = await factory.hub.admit(app, connection)
        if session is None:
            raise Rejection(
                Code.OVER_QUOTA, "Application is over connection quota", limit="max_connections"
            )
    except Rejection as rejection:
        app_id = None if app is None else app.id
        factory.meter.reject(app_id, rejection.code, rejection.limit)
        factory.connection_log.rejected(connection.address, app_id, rejection)
        connection.close(rejection.code, rejection.reason)
        if rejection.code == Code.OVER_CAPACITY:
            # Too many sockets are open, so do not wait for the client's close frame.
            close_socket(connection.transport)
        return None
    return session
