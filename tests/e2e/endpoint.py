"""A webhook endpoint that tracks occupancy from the events that it receives."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

OccupancyKey = tuple[str, str | None]
"""A channel and a user id, or a channel and None for the channel itself."""

_JOIN_EVENTS = ("channel_occupied", "member_added")
_LEAVE_EVENTS = ("channel_vacated", "member_removed")


class OccupancyEndpoint:
    """Accepts every request; a repeated event changes nothing.

    Attributes:
        occupied: The channels and members that are present according to the last events.
    """

    def __init__(self) -> None:
        self.occupied: set[OccupancyKey] = set()
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
                    endpoint.record(event)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        return Handler

    def record(self, event: dict[str, str]) -> None:
        key = (event["channel"], event.get("user_id"))
        if event["name"] in _JOIN_EVENTS:
            self.occupied.add(key)
        elif event["name"] in _LEAVE_EVENTS:
            self.occupied.discard(key)

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
