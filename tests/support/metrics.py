"""Requests to the metrics endpoint of a server in memory."""

from twisted.test.iosim import FakeTransport

from reverb.testing import parse_response


def fetch_metrics(server, path="/metrics", method="GET", headers=""):
    """Send a request to the metrics endpoint, on a new connection, and return the response."""
    connection = server.service.metrics.factory.buildProtocol(None)
    transport = FakeTransport(connection, isServer=True)
    connection.makeConnection(transport)
    request = f"{method} {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n"
    connection.dataReceived(request.encode())
    answer = transport.getOutBuffer()
    transport.reportDisconnect()
    return parse_response(answer)
