"""Checks the signatures of the app's server that clients send: of subscriptions and sign-ins.

Source: Pusher's documentation, "Auth signatures". The error texts are those of Pusher's live
service.
"""

from reverb.apps import App
from reverb.protocol import signing
from reverb.protocol.codes import ClientError
from reverb.protocol.messages import SignIn, Subscribe


def check_subscription(app: App, socket_id: str, request: Subscribe) -> None:
    """Check the signature of a subscription.

    Args:
        app: The app whose key and secret the signature needs.
        socket_id: The socket id of the subscribing connection.
        request: The data of ``pusher:subscribe``.

    Raises:
        ClientError: The signature is missing, malformed or wrong.
    """
    name = request.channel
    if not request.auth:
        raise ClientError(f"Auth info required to subscribe to {name}", auth_failure="subscription")
    _check_signature(
        app,
        request.auth,
        signing.channel_text(socket_id, name, request.channel_data),
        operation="subscription",
        malformed=f"Auth value for subscription to {name} is invalid: should be of format "
        "'key:signature'",
    )


def check_sign_in(app: App, socket_id: str, request: SignIn) -> None:
    """Check the signature of a sign-in.

    Args:
        app: The app whose key and secret the signature needs.
        socket_id: The socket id of the connection.
        request: The data of ``pusher:signin``.

    Raises:
        ClientError: The signature is malformed or wrong.
    """
    _check_signature(
        app,
        request.auth,
        signing.user_text(socket_id, request.user_data),
        operation="signin",
        malformed="Invalid format: auth must have the format key:signature",
    )


def _check_signature(app: App, auth: str, text: str, *, operation: str, malformed: str) -> None:
    """Check that ``auth`` is the app's key, a colon and the text's signature.

    Raises:
        ClientError: ``auth`` has no colon, a wrong key or a wrong signature. If the
            signature is wrong, the error contains the text to sign, but not the secret.
    """
    key, colon, signature = auth.partition(":")
    if not colon:
        raise ClientError(malformed, auth_failure=operation)
    if not signing.constant_time_equal(app.key, key):
        raise ClientError(
            f"Invalid key in {operation} auth data: {key[:100]!r}", auth_failure=operation
        )
    if not signing.constant_time_equal(signing.sign(app.secret, text), signature):
        raise ClientError(
            f"Invalid signature: Expected HMAC SHA256 hex digest of {text[:1000]}, "
            f"but got {signature[:100]}",
            auth_failure=operation,
        )
