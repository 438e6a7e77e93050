"""The metrics of a real process, read over HTTP."""

import http.client
import re
import subprocess

import pytest
from prometheus_client.parser import text_string_to_metric_families

from .raw_websocket import RawWebSocket, message
from .server import APP_OPTIONS, TIMEOUT, TWISTD, clean_environment, poll


@pytest.fixture
def metrics_server(start_server):
    return start_server("--port", "0", "--metrics-listen", "0", *APP_OPTIONS)


def get(metrics_server, method="GET", path="/metrics"):
    port = int(re.search(r"serving metrics on 127\.0\.0\.1:(\d+)\n", metrics_server.log)[1])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def read(metrics_server):
    status, text = get(metrics_server)
    assert status == 200
    return {
        (sample.name, sample.labels.get("source") or sample.labels.get("kind")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.labels.get("app") == "1001"
    }


def test_metrics_count_a_client_and_a_publication(metrics_server):
    with RawWebSocket(metrics_server.connect()) as client:
        client.expect("pusher:connection_established")
        client.socket.sendall(message("pusher:subscribe", data={"channel": "news"}))
        client.expect("pusher_internal:subscription_succeeded")
        with metrics_server.sdk_session() as sdk:
            sdk.trigger("news", "headline", {"a": 1})
        client.expect("headline")
        samples = read(metrics_server)
        assert samples["reverb_connections", None] == 1
        assert samples["reverb_subscriptions", "public"] == 1
        assert samples["reverb_publications_total", "api"] == 1
        assert samples["reverb_publish_latency_seconds_count", None] == 1
        assert samples["reverb_messages_sent_total", None] == 3
    poll("no connections", lambda: read(metrics_server)["reverb_connections", None] == 0)


def test_metrics_describe_the_process(metrics_server):
    text = get(metrics_server)[1]
    assert "process_resident_memory_bytes " in text
    assert 'reverb_build_info{version="' in text


def test_other_paths_and_methods_are_refused(metrics_server):
    assert get(metrics_server, path="/")[0] == 404
    assert get(metrics_server, method="POST")[0] == 405


def test_the_server_stops_with_an_open_connection_to_the_metrics(metrics_server):
    port = int(re.search(r"serving metrics on 127\.0\.0\.1:(\d+)\n", metrics_server.log)[1])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    connection.request("GET", "/metrics")
    connection.getresponse().read()
    metrics_server.stop()
    connection.close()


def test_a_metrics_port_in_use_ends_the_start_with_one_line(listening_socket, tmp_path):
    port = listening_socket.getsockname()[1]
    completed = subprocess.run(
        [TWISTD, "-n", "--pidfile=", "reverb", "--port", "0", "--metrics-listen", str(port)],
        cwd=tmp_path,
        env=clean_environment(),
        capture_output=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert completed.returncode == 1
    output = (completed.stdout + completed.stderr).decode()
    assert f"reverb: cannot listen: Couldn't listen on 127.0.0.1:{port}" in output
    assert "Traceback" not in output
