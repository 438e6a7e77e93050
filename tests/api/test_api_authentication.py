"""Signatures of API requests, in the variants that SDKs make."""

import hashlib
from urllib.parse import quote

import pytest

from reverb.apps import App
from reverb.protocol import signing

EVENTS = "/apps/app-id/events"
BODY = b'{"name":"event","channel":"news","data":"x"}'
EMPTY_MD5 = "d41d8cd98f00b204e9800998ecf8427e"


def make_query(parameters):
    return "&".join(f"{name}={value}" for name, value in parameters.items())


def error(response):
    assert list(response.json()) == ["error"]
    assert response.headers["content-type"] == "application/json"
    return response.json()["error"]


# The documentation's test vector

VECTOR_APP = App(id="3", key="278d425bdf160c739803", secret="7ad3773142a6692b25b8")
VECTOR_BODY = b'{"name":"foo","channels":["project-3"],"data":"{\\"some\\":\\"data\\"}"}'
VECTOR_QUERY = (
    "body_md5=ec365a775a4cd0599faeb73354201b6f&auth_version=1.0"
    "&auth_key=278d425bdf160c739803&auth_timestamp=1353088179"
    "&auth_signature=da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c"
)


@pytest.fixture
def vector_server(make_server, vector_time):
    return make_server(VECTOR_APP)


def test_the_documentations_vector_is_accepted(vector_server):
    client = vector_server.subscriber("project-3")
    response = vector_server.raw("POST", "/apps/3/events", VECTOR_QUERY, VECTOR_BODY)
    assert (response.status, response.json()) == (200, {})
    assert client.take() == [{"event": "foo", "channel": "project-3", "data": '{"some":"data"}'}]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("e6c", "e6d"),
        ("auth_version=1.0&", "auth_version=1.0&info=user_count&"),
        ("auth_timestamp=1353088179", "auth_timestamp=1353088180"),
    ],
)
def test_a_changed_query_is_refused(vector_server, old, new):
    query = VECTOR_QUERY.replace(old, new)
    assert vector_server.raw("POST", "/apps/3/events", query, VECTOR_BODY).status == 401


def test_another_method_or_path_is_refused(vector_server):
    for method, path in (("POST", "/apps/3/batch_events"), ("GET", "/apps/3/channels")):
        assert vector_server.raw(method, path, VECTOR_QUERY, VECTOR_BODY).status == 401


# Missing and wrong parameters


@pytest.mark.parametrize(
    "name", ["auth_key", "auth_timestamp", "auth_version", "auth_signature", "body_md5"]
)
def test_each_missing_parameter_is_named(server, signed, name):
    parameters = signed(server, "POST", EVENTS, BODY)
    del parameters[name]
    response = server.raw("POST", EVENTS, make_query(parameters), BODY)
    assert response.status == 401
    assert name in error(response)


@pytest.mark.parametrize("name", ["auth_key", "auth_timestamp", "auth_version", "auth_signature"])
def test_an_empty_parameter_is_missing(server, signed, name):
    parameters = signed(server, "POST", EVENTS, BODY) | {name: ""}
    assert server.raw("POST", EVENTS, make_query(parameters), BODY).status == 401


def test_an_unsigned_request_is_refused(server):
    client = server.subscriber("news")
    assert server.request("POST", EVENTS, BODY, sign=False).status == 401
    assert client.take() == []


@pytest.mark.parametrize("key", ["wrong", "app-key2", "APP-KEY", "käy"])
def test_an_unknown_key_is_400_not_401(server, signed, key):
    parameters = signed(server, "POST", EVENTS, BODY, auth_key=key) | {"auth_key": quote(key)}
    response = server.raw("POST", EVENTS, make_query(parameters), BODY)
    assert response.status == 400
    assert "Unknown auth_key" in error(response)


def test_another_apps_key_and_secret_are_refused(make_server):
    first, second = (App(id=i, key=f"key{i}", secret=f"secret{i}") for i in "12")
    server = make_server(first, second)
    assert server.request("POST", "/apps/1/events", BODY, app=second).status == 400


@pytest.mark.parametrize("version", ["2.0", "1", "1.0.0"])
def test_another_version_is_refused(server, signed, version):
    parameters = signed(server, "POST", EVENTS, BODY, auth_version=version)
    assert server.raw("POST", EVENTS, make_query(parameters), BODY).status == 401


@pytest.mark.parametrize("tolerance", [600, 60, 1])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_timestamp_may_differ_by_the_tolerance(make_server, signed, tolerance, sign):
    server = make_server(signature_tolerance=tolerance)

    def send(offset):
        timestamp = str(int(server.now()) + sign * offset)
        parameters = signed(server, "POST", EVENTS, BODY, auth_timestamp=timestamp)
        return server.raw("POST", EVENTS, make_query(parameters), BODY)

    assert send(tolerance).status == 200
    late = send(tolerance + 1)
    assert late.status == 401
    assert f"not within {tolerance}s" in error(late)


def test_a_signature_expires(server, signed):
    query = make_query(signed(server, "POST", EVENTS, BODY))
    server.advance(600)
    assert server.raw("POST", EVENTS, query, BODY).status == 200
    server.advance(1)
    response = server.raw("POST", EVENTS, query, BODY)
    assert response.status == 401
    assert error(response).startswith("Timestamp expired: Given timestamp (")


@pytest.mark.parametrize(
    "timestamp", ["", "now", "-5", "1e9", "1700000000.5", "٣", "0", "9" * 12, "9" * 400]
)
def test_an_invalid_timestamp_is_refused(server, signed, timestamp):
    parameters = signed(server, "POST", EVENTS, BODY, auth_timestamp=timestamp)
    parameters["auth_timestamp"] = quote(timestamp)
    response = server.raw("POST", EVENTS, make_query(parameters), BODY)
    assert response.status == 401
    assert "timestamp" in error(response).lower()


def test_another_body_is_refused(server, signed):
    parameters = signed(server, "POST", EVENTS, BODY)
    response = server.raw("POST", EVENTS, make_query(parameters), BODY.replace(b"news", b"olds"))
    assert response.status == 401
    assert "body_md5" in error(response)


def test_a_wrong_md5_is_refused_even_when_it_is_signed(server, signed):
    parameters = signed(server, "POST", EVENTS, BODY, body_md5=EMPTY_MD5)
    assert server.raw("POST", EVENTS, make_query(parameters), BODY).status == 401


def test_the_md5_covers_the_bytes_of_the_body(server, signed):
    body = b'{ "name":"event",\n"channel":"news", "data":"\\u00e4\xc3\xa4" }'
    parameters = signed(server, "POST", EVENTS, body)
    assert server.raw("POST", EVENTS, make_query(parameters), body).status == 200


def test_the_error_shows_the_text_to_sign_but_not_the_secret(server, signed):
    parameters = signed(server, "POST", EVENTS, BODY) | {"auth_signature": "0" * 64}
    response = server.raw("POST", EVENTS, make_query(parameters), BODY)
    assert response.status == 401
    md5 = hashlib.md5(BODY).hexdigest()
    assert (
        f'HmacSHA256Hex("POST\\n{EVENTS}\\nauth_key=app-key&auth_timestamp=1700000000'
        f'&auth_version=1.0&body_md5={md5}", your_secret_key)'
    ) in error(response)
    assert "0" * 64 in error(response)
    assert error(response).startswith("Invalid signature: you should have sent ")
    assert b"app-secret" not in response.body
    right = signed(server, "POST", EVENTS, BODY)["auth_signature"]
    assert right.encode() not in response.body


@pytest.mark.parametrize("signature", ["ä", "%00", "%FF", "x" * 5000, "%ED%A0%80", "=", "é" * 64])
def test_a_malformed_signature_is_refused(server, signed, signature):
    parameters = signed(server, "POST", EVENTS, BODY) | {"auth_signature": quote(signature, "%")}
    response = server.raw("POST", EVENTS, make_query(parameters), BODY)
    assert response.status == 401
    assert len(response.body) < 1000


# Differences between SDKs


def test_the_python_sdk_signs_an_md5_on_a_get_without_a_body(server, signed):
    parameters = signed(server, "GET", "/apps/app-id/channels", body_md5=EMPTY_MD5)
    assert server.raw("GET", "/apps/app-id/channels", make_query(parameters)).status == 200


def test_a_post_without_a_body_needs_no_md5(server, signed):
    path = "/apps/app-id/users/u/terminate_connections"
    assert server.raw("POST", path, make_query(signed(server, "POST", path))).status == 200


VALUES = ["user_count,subscription_count", "a b", "50%", "a+b", "ä", "a/b?c", "'()*!~", '"<>']


@pytest.mark.parametrize("value", VALUES)
def test_escaped_values_are_signed_unescaped(server, signed, value):
    path = "/apps/app-id/channels"
    parameters = signed(server, "GET", path, filter_by_prefix=value)
    parameters["filter_by_prefix"] = quote(value, safe="")
    response = server.raw("GET", path, make_query(parameters))
    assert (response.status, response.json()) == (200, {"channels": {}})


@pytest.mark.parametrize("value", [v for v in VALUES if v.isascii() and " " not in v])
def test_raw_values_are_accepted(server, signed, value):
    path = "/apps/app-id/channels"
    parameters = signed(server, "GET", path, filter_by_prefix=value)
    assert server.raw("GET", path, make_query(parameters)).status == 200


def test_values_may_be_signed_escaped(server, signed):
    path = "/apps/app-id/channels"
    parameters = signed(server, "GET", path, filter_by_prefix="presence%2Dx")
    assert server.raw("GET", path, make_query(parameters)).status == 200


@pytest.mark.parametrize("sent", ["a+b", "a%20b"])
def test_a_plus_may_encode_a_space(server, signed, sent):
    path = "/apps/app-id/channels"
    parameters = signed(server, "GET", path, filter_by_prefix="a b") | {"filter_by_prefix": sent}
    assert server.raw("GET", path, make_query(parameters)).status == 200


def test_php_signs_an_array_as_one_value_with_commas(server, signed):
    path = "/apps/app-id/channels/presence-x"
    parameters = signed(server, "GET", path, info="user_count,subscription_count")
    rest = make_query({k: v for k, v in parameters.items() if k != "info"})
    for array in (
        "info[0]=user_count&info[1]=subscription_count",
        "info%5B0%5D=user_count&info%5B1%5D=subscription_count",
        "info[]=user_count&info[]=subscription_count",
    ):
        response = server.raw("GET", path, f"{array}&{rest}")
        assert response.json() == {"occupied": False, "user_count": 0, "subscription_count": 0}


# What is signed is what is meant


@pytest.mark.parametrize(
    "sent",
    [
        "filter_by_prefix=a",
        "filter_by_prefix[]=a",
        "filter_by_prefix[0]=a",
        "filter_by_prefix%5B%5D=a",
        "Filter_By_Prefix=a",
        "FILTER_BY_PREFIX[x]=%61",
    ],
)
def test_no_form_with_the_same_signature_loses_the_filter(server, signed, sent):
    server.subscriber("a1", "b1")
    path = "/apps/app-id/channels"
    parameters = signed(server, "GET", path, filter_by_prefix="a")
    del parameters["filter_by_prefix"]
    response = server.raw("GET", path, f"{sent}&{make_query(parameters)}")
    assert response.json() == {"channels": {"a1": {}}}


@pytest.mark.parametrize(
    "sent",
    [
        "filter_by_prefix=a&filter_by_prefix=b",
        "filter_by_prefix=b&filter_by_prefix=a",
        "filter_by_prefix=a&FILTER_BY_PREFIX=a",
        "filter_by_prefix=a&filter_by_prefix[]=b",
        "filter_by_prefix[]=a&filter_by_prefix=b",
        "auth_version=1.0&filter_by_prefix=a",
    ],
)
def test_a_parameter_that_is_sent_twice_is_refused(server, signed, sent):
    path = "/apps/app-id/channels"
    parameters = signed(server, "GET", path, filter_by_prefix="a")
    del parameters["filter_by_prefix"]
    response = server.raw("GET", path, f"{sent}&{make_query(parameters)}")
    assert response.status == 400
    assert "must be given once" in error(response)


@pytest.mark.parametrize(
    "sent",
    [
        "filter_by_prefix=presence-%26info=user_count",
        "filter_by_prefix%3Dpresence-%26info=user_count",
    ],
)
def test_parameters_cannot_be_joined_under_the_same_signature(server, signed, sent):
    path = "/apps/app-id/channels"
    query = {"filter_by_prefix": "presence-", "info": "user_count"}
    parameters = signed(server, "GET", path, **query)
    rest = make_query({k: v for k, v in parameters.items() if k not in query})
    response = server.raw("GET", path, f"{sent}&{rest}")
    assert response.status == 400
    assert "filter_by_prefix" in error(response)


def test_a_body_cannot_be_removed_under_the_same_signature(server, signed):
    client = server.subscriber("news")
    path = "/apps/app-id/channels/news/events"
    parameters = signed(server, "POST", path, b"data", name="e")
    response = server.raw("POST", path, make_query(parameters))
    assert response.status == 401
    assert "body_md5" in error(response)
    assert client.take() == []


def test_channels_in_the_query_mean_the_same_as_an_array_and_as_one_value(server, signed):
    client = server.subscriber("a", "b")
    parameters = signed(server, "POST", EVENTS, name="e", data="x", channels="a,b")
    rest = make_query({k: v for k, v in parameters.items() if k != "channels"})
    for channels in ("channels=a,b", "channels[]=a&channels[]=b", "channels[]=a,b"):
        assert server.raw("POST", EVENTS, f"{channels}&{rest}").status == 200
        assert [event["channel"] for event in client.take()] == ["a", "b"]


@pytest.mark.parametrize("query", ["&".join(["a"] * 129), "a=" + "%" * 65])
def test_a_query_that_takes_long_to_read_is_refused(server, query):
    response = server.raw("GET", "/apps/app-id/channels", query)
    assert response.status == 400
    assert error(response)


def test_the_largest_event_in_a_query_is_accepted(server, signed):
    channels = [f"c{index}" for index in range(100)]
    parameters = signed(server, "POST", EVENTS, name="e", data="x", channels=",".join(channels))
    del parameters["channels"]
    array = "&".join(f"channels[{i}]={name}" for i, name in enumerate(channels))
    assert server.raw("POST", EVENTS, f"{array}&{make_query(parameters)}").status == 200


def test_names_are_signed_in_lower_case(server):
    path = "/apps/app-id/channels"
    now = int(server.now())
    text = f"GET\n{path}\nauth_key=app-key&auth_timestamp={now}&auth_version=1.0"
    signature = signing.sign("app-secret", text)
    query = f"Auth_Key=app-key&AUTH_TIMESTAMP={now}&auth_version=1.0&auth_signature={signature}"
    assert server.raw("GET", path, query).status == 200


def test_the_order_of_the_query_does_not_matter(server, signed):
    parameters = signed(server, "POST", EVENTS, BODY)
    for names in (sorted(parameters), sorted(parameters, reverse=True)):
        query = make_query({name: parameters[name] for name in names})
        assert server.raw("POST", EVENTS, query, BODY).status == 200


@pytest.mark.parametrize("prefix", ["", "/realtime"])
def test_a_prefix_may_be_signed_or_not(make_server, signed, prefix):
    server = make_server(path="/realtime")
    client = server.client(path="/realtime/app/")
    client.subscribe("news")
    client.take()
    parameters = signed(server, "POST", prefix + EVENTS, BODY)
    assert server.raw("POST", "/realtime" + EVENTS, make_query(parameters), BODY).status == 200
    assert len(client.take()) == 1
    assert server.raw("POST", EVENTS, make_query(parameters), BODY).status == 404


@pytest.mark.parametrize("sign_escaped", [True, False])
def test_a_path_may_be_signed_escaped_or_not(server, signed, sign_escaped):
    escaped = "/apps/app-id/channels/%23server-to-user-a%40b"
    plain = "/apps/app-id/channels/#server-to-user-a@b"
    parameters = signed(server, "GET", escaped if sign_escaped else plain)
    assert server.raw("GET", escaped, make_query(parameters)).json() == {"occupied": False}


# Apps


def test_a_disabled_app_is_403_for_a_signed_request(make_server, app_with):
    server = make_server(app_with(enabled=False))
    assert server.post("events", BODY).status == 403
    assert server.request("POST", EVENTS, BODY, sign=False).status == 401


def test_an_unknown_app_is_404(server):
    response = server.request("POST", "/apps/nobody/events", BODY)
    assert response.status == 404
    assert "nobody" in error(response)


def test_without_an_app_in_the_path_the_key_identifies_it(server, signed):
    path = "/users/u/terminate_connections"
    body = b"{}"
    assert (
        server.raw("POST", path, make_query(signed(server, "POST", path, body)), body).status == 200
    )
    wrong = signed(server, "POST", path, body, auth_key="wrong")
    assert server.raw("POST", path, make_query(wrong), body).status == 400
    missing = signed(server, "POST", path, body, auth_key=None)
    response = server.raw("POST", path, make_query(missing), body)
    assert response.status == 401
    assert "Missing auth_key" in error(response)
