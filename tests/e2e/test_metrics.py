"""Metrics of a real process, read over HTTP."""

import http.client
import re
import subprocess

import pytest
from e2e_raw import RawWebSocket, message
from e2e_server import AS_APP, BOUND, TWISTD, clean_environment, poll
from prometheus_client.parser import text_string_to_metric_families


@pytest.fixture
def measured(start_server):
    return start_server("--port", "0", "--metrics-listen", "0", *AS_APP)


def get(measured, method="GET", path="/metrics"):
    port = int(re.search(r"serving metrics on 127\.0\.0\.1:(\d+)\n", measured.log)[1])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=BOUND)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def read(measured):
    status, text = get(measured)
    assert status == 200
    return {
        (sample.name, sample.labels.get("source") or sample.labels.get("kind")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.labels.get("app") == "1001"
    }


def test_a_client_and_a_publication(measured):
    with RawWebSocket(measured.connect()) as client:
        client.expect("pusher:connection_established")
        client.socket.sendall(message("pusher:subscribe", data={"channel": "news"}))
        client.expect("pusher_internal:subscription_succeeded")
        with measured.sdk_session() as sdk:
            sdk.trigger("news", "headline", {"a": 1})
        client.expect("headline")
        seen = read(measured)
        assert seen["reverb_connections", None] == 1
        assert seen["reverb_subscriptions", "public"] == 1
        assert seen["reverb_publications_total", "api"] == 1
        assert seen["reverb_publish_latency_seconds_count", None] == 1
        assert seen["reverb_messages_sent_total", None] == 3
    poll("the connection is gone", lambda: read(measured)["reverb_connections", None] == 0)


def test_the_process_is_told_of(measured):
    text = get(measured)[1]
    assert "process_resident_memory_bytes " in text
    assert 'reverb_build_info{version="' in text


def test_what_is_not_there(measured):
    assert get(measured, path="/")[0] == 404
    assert get(measured, method="POST")[0] == 405


def test_it_stops_while_somebody_is_connected_to_the_metrics(measured):
    port = int(re.search(r"serving metrics on 127\.0\.0\.1:(\d+)\n", measured.log)[1])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=BOUND)
    connection.request("GET", "/metrics")
    connection.getresponse().read()
    measured.stop()
    connection.close()


def test_a_port_that_is_taken_is_one_line(listening, tmp_path):
    port = listening.getsockname()[1]
    done = subprocess.run(
        [TWISTD, "-n", "--pidfile=", "reverb", "--port", "0", "--metrics-listen", str(port)],
        cwd=tmp_path,
        env=clean_environment(),
        capture_output=True,
        timeout=BOUND,
        check=False,
    )
    assert done.returncode == 1
    output = (done.stdout + done.stderr).decode()
    assert f"reverb: cannot listen: Couldn't listen on 127.0.0.1:{port}" in output
    assert "Traceback" not in output
