"""Publish one event with Pusher's official Python SDK.

::

    pip install pusher
    python examples/publish.py --app-id 1001 --app-key chat-key --app-secret chat-secret \
        news headline '{"text": "Hello"}'

Options that are not given come from the environment, from the variables that
Laravel uses too: REVERB_APP_ID, REVERB_APP_KEY, REVERB_APP_SECRET, REVERB_HOST,
REVERB_PORT and REVERB_SCHEME. The SDK accepts only app ids of digits.
"""

import argparse
import os
import sys

CREDENTIALS = ("app_id", "app_key", "app_secret")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        arguments: The arguments; None for those of the process.

    Returns:
        The options, with all credentials set.
    """
    environ = os.environ.get
    parser = argparse.ArgumentParser(description="Publish one event with the pusher SDK.")
    parser.add_argument("channel")
    parser.add_argument("event")
    parser.add_argument("data", help="JSON, or any other text")
    for name in CREDENTIALS:
        variable = f"REVERB_{name.upper()}"
        option = "--" + name.replace("_", "-")
        parser.add_argument(option, default=environ(variable), help=f"default: {variable}")
    parser.add_argument("--host", default=environ("REVERB_HOST", "127.0.0.1"))
    parser.add_argument("--port", type=int, default=environ("REVERB_PORT", "8080"))
    parser.add_argument(
        "--scheme", choices=("http", "https"), default=environ("REVERB_SCHEME", "http")
    )
    options = parser.parse_args(arguments)
    for name in CREDENTIALS:
        if not getattr(options, name):
            option = "--" + name.replace("_", "-")
            parser.error(f"{option} is missing, and so is REVERB_{name.upper()}")
    return options


def publish(options: argparse.Namespace) -> None:
    """Publish the event.

    Args:
        options: The parsed command line.

    Raises:
        SystemExit: The event was not published; the message says why.
    """
    try:
        from pusher import Pusher  # type: ignore[import-untyped]  # noqa: PLC0415
        from pusher.errors import PusherError  # type: ignore[import-untyped]  # noqa: PLC0415
        from requests import RequestException  # noqa: PLC0415 - the SDK's HTTP client
    except ModuleNotFoundError as error:
        raise SystemExit(f"{error}: run 'pip install pusher'") from None
    try:
        client = Pusher(
            app_id=options.app_id,
            key=options.app_key,
            secret=options.app_secret,
            host=options.host,
            port=options.port,
            ssl=options.scheme == "https",
        )
        # A string goes to clients unchanged, and they decode it if it is JSON. The SDK encodes
        # any other type of value as JSON.
        client.trigger(options.channel, options.event, options.data)
    except RequestException as error:
        address = f"{options.scheme}://{options.host}:{options.port}"
        raise SystemExit(f"no server could be reached at {address}: {error}") from None
    except PusherError as error:
        raise SystemExit(f"the server refused the event: {error}") from None
    except (TypeError, ValueError) as error:
        raise SystemExit(f"the event cannot be sent: {error}") from None


if __name__ == "__main__":
    given = parse()
    publish(given)
    sys.stdout.write(f"published {given.event} to {given.channel}\n")
