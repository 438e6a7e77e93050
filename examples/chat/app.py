"""A chat page, and the web server that signs its presence channel.

It needs a running realtime server, and a copy of pusher-js to serve::

    twistd -n reverb --app-id 1001 --app-key chat-key --app-secret chat-secret
    npm install pusher-js
    python examples/chat/app.py

Messages are client events: they go from browser to browser through the realtime
server. This web server never sees them; it only authorizes subscriptions.
"""

import argparse
import hmac
import json
import re
import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.task import react
from twisted.python.log import startLogging
from twisted.web.resource import Resource
from twisted.web.server import Request, Site
from twisted.web.static import Data, File

HERE = Path(__file__).resolve().parent
CHANNEL = "presence-chat"
MAX_NAME_LENGTH = 40
PUSHER_JS = "node_modules/pusher-js/dist/web/pusher.min.js"


class Authorization(Resource):
    """``POST /pusher/auth``, which pusher-js calls before it subscribes to the channel.

    This example has no accounts: users choose their names, and each connection is a
    separate user. A real application would take the user's id and name from its session,
    never from the request.

    Args:
        app_key: The app's public key.
        app_secret: The app's secret, which signs the subscription.
    """

    isLeaf = True

    def __init__(self, app_key: str, app_secret: str) -> None:
        super().__init__()
        self._key = app_key
        self._secret = app_secret

    def render_POST(self, request: Request) -> bytes:
        """Sign the subscription, or reject it with 403."""
        socket_id, channel = _field(request, b"socket_id"), _field(request, b"channel_name")
        name = _field(request, b"name").strip()
        if not re.fullmatch(r"[0-9]+\.[0-9]+", socket_id) or channel != CHANNEL:
            return _refuse(request, f"only subscriptions to {CHANNEL} are signed")
        if not 0 < len(name) <= MAX_NAME_LENGTH:
            return _refuse(request, f"a name must have 1 to {MAX_NAME_LENGTH} characters")
        member = json.dumps({"user_id": socket_id, "user_info": {"name": name}})
        text = f"{socket_id}:{channel}:{member}"
        signature = hmac.digest(self._secret.encode(), text.encode(), "sha256").hex()
        request.setHeader("Content-Type", "application/json")
        return json.dumps({"auth": f"{self._key}:{signature}", "channel_data": member}).encode()


def _field(request: Request, name: bytes) -> str:
    """Return a field of the form that pusher-js posts; empty if it is missing."""
    values: list[bytes] = (request.args or {}).get(name, [])
    return values[-1].decode("utf-8", "replace") if values else ""


def _refuse(request: Request, message: str) -> bytes:
    request.setResponseCode(403)
    request.setHeader("Content-Type", "text/plain; charset=utf-8")
    return message.encode()


def find_pusher_js(given: Path | None) -> Path:
    """Find pusher-js's build for browsers.

    Args:
        given: The path from the command line, if any.

    Returns:
        The path of an existing file.

    Raises:
        SystemExit: No file was found; the message says what to do.
    """
    project = HERE.parent.parent
    folders = (Path.cwd(), HERE, project, project / "tests/e2e")
    candidates = [given] if given is not None else [folder / PUSHER_JS for folder in folders]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise SystemExit(
        f"pusher-js is not at {' or '.join(map(str, candidates))}: run 'npm install pusher-js' "
        "here, or give the path of its pusher.min.js as --pusher-js"
    )


def make_site(options: argparse.Namespace) -> Site:
    """Build the web site.

    Args:
        options: The parsed command line.
    """
    config = {
        "key": options.app_key,
        "host": options.reverb_host,
        "port": options.reverb_port,
        "channel": CHANNEL,
    }
    # A script instead of a JSON file, so that the page has it before the user can click.
    script = f"const config = {json.dumps(config)};\n".encode()
    signing = Resource()
    signing.putChild(b"auth", Authorization(options.app_key, options.app_secret))
    root = File(str(HERE / "static"))
    root.putChild(b"config.js", Data(script, "text/javascript"))
    root.putChild(b"pusher.min.js", File(str(find_pusher_js(options.pusher_js))))
    root.putChild(b"pusher", signing)
    return Site(root)


async def serve(reactor: Any, options: argparse.Namespace) -> None:
    """Serve the page until the process stops.

    Args:
        reactor: The reactor.
        options: The parsed command line.

    Raises:
        SystemExit: The server cannot listen on the port.
    """
    site = make_site(options)
    try:
        port = reactor.listenTCP(options.port, site, interface=options.host)
    except CannotListenError as error:
        raise SystemExit(str(error)) from None
    host = f"[{options.host}]" if ":" in options.host else options.host
    print(f"The chat is at http://{host}:{port.getHost().port}/", flush=True)
    await Deferred()


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        arguments: The arguments; None for those of the process.
    """
    parser = argparse.ArgumentParser(description="A chat page on a Pusher protocol server.")
    parser.add_argument("--app-key", default="chat-key", help="default: %(default)s")
    parser.add_argument("--app-secret", default="chat-secret", help="default: %(default)s")
    parser.add_argument(
        "--reverb-host", help="the realtime server's host, for browsers; default: the page's host"
    )
    parser.add_argument("--reverb-port", type=int, default=8080, help="default: %(default)s")
    parser.add_argument("--host", default="127.0.0.1", help="to listen on; default: %(default)s")
    parser.add_argument("--port", type=int, default=8000, help="to listen on; default: %(default)s")
    parser.add_argument(
        "--pusher-js",
        type=Path,
        help="path of pusher.min.js; default: the one that npm installed nearby",
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    options = parse()
    startLogging(sys.stderr, setStdout=False)
    react(serve, (options,))
