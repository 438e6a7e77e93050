"""An application's authorization endpoints, which sign with Pusher's own Python SDK."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import pusher

from .server import APP, MASTER_KEY

SDK = pusher.Pusher(*APP, encryption_master_key_base64=MASTER_KEY)
FORBIDDEN = "private-forbidden"
"""The channel for which the application refuses authorization."""


def sign(path: str, form: dict[str, str]) -> Any:
    """Return the signed answer to a client's request, or None to refuse it."""
    user_id = form["user_id"]
    info = {"name": user_id.title()}
    if path == "/pusher/user-auth":
        user = {"id": user_id.split("#")[0], "user_info": info}
        if "watchlist" in form:
            user["watchlist"] = form["watchlist"].split(",")
        return SDK.authenticate_user(form["socket_id"], user)
    channel = form["channel_name"]
    if channel == FORBIDDEN:
        return None
    member = None
    if channel.startswith("presence-"):
        member = {"user_id": user_id.split("#")[0], "user_info": info}
    return SDK.authenticate(channel, form["socket_id"], member)


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        form = {name: values[-1] for name, values in parse_qs(body).items()}
        signed = sign(self.path, form)
        self.send_response(403 if signed is None else 200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(signed, default=bytes.decode).encode())

    def log_message(self, *_: object) -> None:
        """Log nothing."""


class AuthServer:
    """Serves ``/pusher/auth``, ``/pusher/user-auth`` and ``/broadcasting/auth``."""

    def __init__(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
