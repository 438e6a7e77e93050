"""The page at ``/``: one line for load balancers and programs, a small page for browsers."""

from reverb.api.context import ApiContext
from reverb.http import Request, Response

_PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Reverb for Twisted</title>
<style>body {{ font: 1em/1.5 sans-serif; margin: 2em auto; max-width: 44em; padding: 0 1em }}
pre {{ background: #eee; color: #111; overflow: auto; padding: 1em }}</style>
<h1>Reverb for Twisted</h1>
<p>This is a realtime server that speaks the Pusher Channels protocol. It is running.</p>
<p>Clients connect with pusher-js, or with another client library of Pusher Channels. Use the host
and the port of this page. If this page is on <code>https://</code>, set
<code>forceTLS: true</code>:</p>
<pre>const pusher = new Pusher("APP_KEY", {{
  wsHost: "HOST", wsPort: PORT, wssPort: PORT, wsPath: "{path}", forceTLS: false,
  enabledTransports: ["ws", "wss"], cluster: "",
}});
pusher.subscribe("news").bind("headline", (data) =&gt; console.log(data));</pre>
<p>Applications publish with a server library of Pusher Channels, to
<code>{path}/apps/APP_ID/events</code>. <a href="{path}/up">{path}/up</a> and
<a href="{path}/ready">{path}/ready</a> are for health checks.</p>
</html>
"""
_LINE = (
    "Reverb for Twisted: a realtime server that speaks the Pusher Channels protocol. "
    "WebSocket clients connect to {path}/app/APP_KEY\n"
)


class HomePage:
    """Shows what the server is and how to connect to it. The page names no app.

    Args:
        path: The prefix of all paths: empty, or a path such as ``/realtime``.
    """

    def __init__(self, path: str) -> None:
        self._page = _make_response("text/html", _PAGE.format(path=path))
        self._line = _make_response("text/plain", _LINE.format(path=path))

    def show(self, _context: ApiContext, request: Request) -> Response:
        """Return the page if the client accepts HTML, as browsers do; otherwise one line of text.

        A load balancer that checks whether the server is healthy gets the status 200 in any case.
        """
        accepts_html = "text/html" in (request.headers.get("accept") or "").lower()
        return self._page if accepts_html else self._line


def _make_response(kind: str, text: str) -> Response:
    body = text.encode()
    headers = (
        ("Content-Type", f"{kind}; charset=utf-8"),
        ("Content-Length", str(len(body))),
        ("Vary", "Accept"),
        ("X-Content-Type-Options", "nosniff"),
        ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'"),
    )
    return Response(200, headers, body)
