"""An endpoint for webhooks that knows who is there, by what it was told last."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

OccupancyKey = tuple[str, str | None]
"""A channel, or a user on one."""

_COMING = ("channel_occupied", "member_added")
_GOING = ("channel_vacated", "member_removed")


class Endpoint:
    """Takes every request; what is told twice changes nothing."""

    def __init__(self) -> None:
        self.there: set[OccupancyKey] = set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                for event in json.loads(body)["events"]:
                    endpoint.take(event)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler

    def take(self, event: dict[str, str]) -> None:
        place = (event["channel"], event.get("user_id"))
        if event["name"] in _COMING:
            self.there.add(place)
        elif event["name"] in _GOING:
            self.there.discard(place)

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
