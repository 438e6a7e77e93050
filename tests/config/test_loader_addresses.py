"""The addresses of the server, of the metrics and of several workers."""

import pytest

from bench.certificate import make_certificate
from reverb.config.loader import ConfigurationError
from reverb.listening import endpoint_strings

from .loading import (
    ANY_ADDRESS,
    APP_TABLE,
    CERTIFICATES,
    PEM,
    error_message,
    from_environment,
    from_options,
)

BEGINNING = b"-----BEGIN CERT"
OTHER = make_certificate()
MISMATCHED_PEM = OTHER[: OTHER.index(BEGINNING)] + PEM[PEM.index(BEGINNING) :]


class TestEndpoints:
    @pytest.mark.parametrize(
        "endpoint",
        [
            "tcp:0",
            "tcp:65535:interface=0.0.0.0:backlog=9",
            r"tcp6:8080:interface=\:\:1",
            "unix:/usr/x:mode=660",
            "haproxy:tcp:80",
            f"tls:{CERTIFICATES}:port=443",
        ],
    )
    def test_good(self, endpoint):
        assert from_options({"listen": [endpoint]}).settings.listen == (endpoint,)

    @pytest.mark.parametrize(
        ("pem", "problem"),
        [
            (None, "found no certificate with its private key in "),
            (b"", "found no certificate with its private key in "),
            (b"nothing like it", "found no certificate with its private key in "),
            (PEM[PEM.index(BEGINNING) :], "found no certificate with its private key"),
            (PEM.replace(b"CERTIFICATE-----\nMII", b"CERTIFICATE-----\nxxx"), "a certificate in "),
            (PEM.replace(b"PRIVATE KEY-----\nMI", b"PRIVATE KEY-----\nxx"), "a private key in "),
            (MISMATCHED_PEM, "found no certificate with its private key in "),
        ],
    )
    def test_an_unusable_certificate_is_an_error(self, tmp_path, pem, problem):
        if pem is not None:
            (tmp_path / "localhost.pem").write_bytes(pem)

        with pytest.raises(ConfigurationError) as raised:
            from_options({"listen": [f"tls:{tmp_path}"]})
        assert problem in str(raised.value)

    @pytest.mark.parametrize("kind", ["ssl", "tls"])
    def test_a_certificate_may_be_for_an_ip_address_only(self, tmp_path, kind):
        (tmp_path / "address.pem").write_bytes(make_certificate(host=""))
        endpoints = {
            "ssl": f"ssl:443:privateKey={tmp_path / 'address.pem'}",
            "tls": f"tls:{tmp_path}",
        }
        endpoint = endpoints[kind]

        assert from_options({"listen": [endpoint]}).settings.listen == (endpoint,)

    @pytest.mark.parametrize(
        ("endpoint", "problem"),
        [
            ("", "unknown endpoint type ''"),
            ("8080", "unknown endpoint type '8080'"),
            ("tcp:65536", "the port must be from 0 to 65535, not '65536'"),
            (f"tls:{CERTIFICATES}:65536", "the port must be from 0 to 65535, not '65536'"),
            ("tls:/nowhere", "no such certificate directory: '/nowhere'"),
            ("unix:/nowhere/x.sock", "no such directory: '/nowhere'"),
            ("unix:/usr", "'/usr' is a directory"),
            ("haproxy:htp:1", "unknown endpoint type 'htp'"),
            ("systemd:domain=INET:name=ws", "systemd passed no such socket"),
            (
                "ssl:1:privateKey=/dev/zero",
                "'/dev/zero' cannot be read: it has more than 1048576 bytes",
            ),
            (
                "ssl:1:privateKey=/nowhere.pem",
                "'/nowhere.pem' cannot be read: No such file or directory",
            ),
            ("haproxy:tls:/nowhere", "no such certificate directory: '/nowhere'"),
            ("ssl:privateKey=/x.pem", "the port is missing"),
            ("tcp:1\\", "generator raised StopIteration"),
        ],
    )
    def test_bad(self, endpoint, problem):
        assert error_message(from_options, {"listen": [endpoint]}) == (
            f"--listen: cannot listen on endpoint {endpoint!r}: {problem}"
        )


class TestMetricsListen:
    @pytest.mark.parametrize(
        ("address", "endpoint"),
        [
            ("9100", "tcp:9100:interface=127.0.0.1"),
            ("0", "tcp:0:interface=127.0.0.1"),
            ("10.0.0.5:9100", "tcp:9100:interface=10.0.0.5"),
            ("localhost:9100", "tcp:9100:interface=localhost"),
            ("0.0.0.0:9100", "tcp:9100:interface=0.0.0.0"),
            ("[::1]:9100", r"tcp6:9100:interface=\:\:1"),
            ("tcp:9100", "tcp:9100"),
            (r"tcp6:9100:interface=\:\:1", r"tcp6:9100:interface=\:\:1"),
            ("unix:/usr/x", "unix:/usr/x"),
        ],
    )
    def test_short_addresses_become_endpoint_strings(self, address, endpoint):
        assert from_options({"metrics-listen": [address]}).settings.metrics_listen == (endpoint,)
        environment = from_environment(REVERB_METRICS_LISTEN=address)
        assert environment.settings.metrics_listen == (endpoint,)

    def test_none_is_the_default(self):
        assert from_options({"metrics-listen": []}).settings.metrics_listen == ()

    def test_several(self, from_file):
        text = "metrics_listen = ['9100', '[::1]:9100', '10.0.0.5:9100']\n" + APP_TABLE

        assert len(from_file(text).settings.metrics_listen) == 3

    @pytest.mark.parametrize(
        ("address", "expected"),
        [
            (
                "65536",
                (
                    "cannot listen on endpoint 'tcp:65536:interface=127.0.0.1': the port must be "
                    "from 0 to 65535, not '65536'"
                ),
            ),
            ("", "cannot listen on endpoint '': unknown endpoint type ''"),
            ("-1", "cannot listen on endpoint '-1': unknown endpoint type '-1'"),
            (":9100", "cannot listen on endpoint ':9100': unknown endpoint type ''"),
            ("::1:9100", "cannot listen on endpoint '::1:9100': unknown endpoint type ''"),
            ("[::x]:1", "cannot listen on endpoint '[::x]:1': unknown endpoint type '['"),
            ("[1:2]:1", "cannot listen on endpoint '[1:2]:1': unknown endpoint type '[1'"),
            ("a b:1", "cannot listen on endpoint 'a b:1': unknown endpoint type 'a b'"),
            ("host:x", "cannot listen on endpoint 'host:x': unknown endpoint type 'host'"),
            (
                "http://h:9100",
                "cannot listen on endpoint 'http://h:9100': unknown endpoint type 'http'",
            ),
            (
                "tcp:x",
                "cannot listen on endpoint 'tcp:x': the port must be from 0 to 65535, not 'x'",
            ),
            (
                "unix:/nowhere/x",
                "cannot listen on endpoint 'unix:/nowhere/x': no such directory: '/nowhere'",
            ),
        ],
    )
    def test_errors(self, address, expected):
        message = error_message(from_options, {"metrics-listen": [address]})

        assert message == f"--metrics-listen: {expected}"

    def test_an_error_names_its_origin(self, from_file):
        message = error_message(from_file, "metrics_listen = 9100\n" + APP_TABLE)

        assert message == "reverb.toml: metrics_listen: expected a list of strings, got 9100"

    @pytest.mark.parametrize(
        ("options", "address", "other"),
        [
            ({}, "8080", "tcp:8080:interface=127.0.0.1:backlog=1024"),
            ({}, "localhost:8080", "tcp:8080:interface=127.0.0.1:backlog=1024"),
            ({}, "tcp:08080", "tcp:8080:interface=127.0.0.1:backlog=1024"),
            ({"host": ANY_ADDRESS}, "8080", "tcp:8080:interface=0.0.0.0:backlog=1024"),
            ({"host": "::"}, "[::1]:8080", r"tcp6:8080:interface=\:\::backlog=1024"),
            ({"listen": ["unix:/usr/x", "tcp:80"]}, "10.0.0.5:80", "tcp:80"),
            ({"listen": [f"tls:{CERTIFICATES}"]}, "443", f"tls:{CERTIFICATES}"),
            ({"listen": ["unix:/usr/x:mode=660"]}, "unix:/usr/./x", "unix:/usr/x:mode=660"),
        ],
    )
    def test_the_servers_own_address_is_refused(self, options, address, other):
        message = error_message(from_options, options | {"metrics-listen": [address]})

        assert message == (
            f"--metrics-listen: {address!r} is already in use: the server listens on {other!r}"
        )

    def test_one_address_twice_is_refused(self):
        message = error_message(from_environment, REVERB_METRICS_LISTEN="9100,tcp:9100")

        assert message == (
            "REVERB_METRICS_LISTEN: 'tcp:9100' is already in use: metrics are served on "
            "'tcp:9100:interface=127.0.0.1'"
        )

    @pytest.mark.parametrize(
        ("options", "address"),
        [
            ({}, "10.0.0.5:8080"),
            ({}, "[::1]:8080"),
            ({"port": "0"}, "0"),
            ({"listen": ["unix:/usr/x"]}, "unix:/usr/y"),
            ({"listen": ["unix:/usr/x"]}, "8080"),
        ],
    )
    def test_other_addresses_are_accepted(self, options, address):
        assert from_options(options | {"metrics-listen": [address]}).settings.metrics_listen


class TestWorkers:
    REDIS = "redis://localhost"

    def of(self, workers="2", **options):
        return {"workers": workers, "redis": self.REDIS, **options}

    def test_one_is_the_default_and_needs_no_redis(self):
        assert from_options({}).settings.workers == 1
        assert from_options({"workers": "1"}).settings.workers == 1

    def test_the_environment_and_the_file(self, from_file):
        environment = from_environment(REVERB_WORKERS="3", REVERB_REDIS_URL=self.REDIS)
        assert environment.settings.workers == 3
        text = f"workers = 4\nredis = '{self.REDIS}'\n" + APP_TABLE
        assert from_file(text).settings.workers == 4

    @pytest.mark.parametrize(
        ("workers", "shown"),
        [("0", 0), ("-1", -1), ("257", 257), ("two", "'two'"), ("1.5", "'1.5'")],
    )
    def test_an_invalid_number(self, workers, shown):
        message = error_message(from_options, self.of(workers))

        assert message == f"--workers: expected a whole number from 1 to 256, got {shown}"

    @pytest.mark.parametrize("redis", [{}, {"redis": ""}])
    def test_several_need_a_redis(self, redis):
        message = error_message(from_options, {"workers": "2"} | redis)

        assert message == (
            "--workers: 2 workers need a Redis to act as one server: set --redis too"
        )

    def test_an_error_names_its_origin(self, from_file):
        message = error_message(from_file, "workers = 2\n" + APP_TABLE)

        assert message.startswith(
            "reverb.toml: workers: 2 workers need a Redis to act as one server: "
        )

    @pytest.mark.parametrize("address", ["9100", "0", "[::1]:9100", f"tls:{CERTIFICATES}"])
    def test_metrics_addresses_of_several_workers(self, address):
        assert from_options(self.of(**{"metrics-listen": [address]})).settings.metrics_listen

    @pytest.mark.parametrize(
        ("address", "expected"),
        [
            (
                "unix:/usr/x",
                "'unix:/usr/x' cannot serve 3 workers: each worker needs a TCP port of its own",
            ),
            ("65534", "'65534' cannot serve 3 workers: worker 3 would need port 65536"),
            (
                "8079",
                (
                    "'tcp:8080:interface=127.0.0.1' is already in use: the server listens on "
                    "'tcp:8080:interface=127.0.0.1:backlog=1024'"
                ),
            ),
        ],
    )
    def test_metrics_addresses_that_several_workers_cannot_use(self, address, expected):
        message = error_message(from_options, self.of("3", **{"metrics-listen": [address]}))

        assert message == f"--metrics-listen: {expected}"

    @pytest.mark.parametrize(
        ("endpoint", "third"),
        [
            ("tcp:9100:interface=127.0.0.1", "tcp:9102:interface=127.0.0.1"),
            (r"tcp6:9100:interface=\:\:1", r"tcp6:9102:interface=\:\:1"),
            ("tcp:port=9100:backlog=9", "tcp:port=9102:backlog=9"),
            ("tcp:9100:127.0.0.1", "tcp:9102:127.0.0.1"),
            ("tcp:0", "tcp:0"),
            (r"tls:/a\=b\:c", r"tls:/a\=b\:c:port=445"),
            ("tls:/a:444", "tls:/a:446"),
            (r"ssl:443:privateKey=a\\b", r"ssl:445:privateKey=a\\b"),
        ],
    )
    def test_each_worker_gets_its_own_port(self, endpoint, third):
        assert endpoint_strings.for_worker(endpoint, 3) == third
        assert endpoint_strings.for_worker(endpoint, 1) == endpoint


class TestProxiesAndSockets:
    """The trusted proxies, and the number of sockets."""

    def test_proxies_are_addresses_networks_and_unix_sockets(self):
        settings = from_environment(REVERB_TRUSTED_PROXIES="10.0.0.0/8, ::1, unix").settings
        assert settings.trusted_proxies == ("10.0.0.0/8", "::1", "unix")

    def test_an_error_names_its_origin(self):
        message = error_message(from_environment, REVERB_TRUSTED_PROXIES="10.0.0.0/8, proxy")
        assert message == (
            "REVERB_TRUSTED_PROXIES: expected IP addresses, networks such as 10.0.0.0/8 or "
            "fd00::/8, or unix, got 'proxy'"
        )

    @pytest.mark.parametrize(("text", "value"), [("auto", "auto"), ("0", 0), (" 500 ", 500)])
    def test_the_number_of_sockets_may_be_automatic(self, text, value):
        assert from_environment(REVERB_MAX_SOCKETS=text).settings.max_sockets == value

    @pytest.mark.parametrize("text", ["many", "-1", "1.5", "2147483648"])
    def test_an_invalid_number_of_sockets_is_an_error(self, text):
        message = error_message(from_environment, REVERB_MAX_SOCKETS=text)
        assert message.startswith(
            "REVERB_MAX_SOCKETS: expected a whole number from 0 to 2147483647, or 'auto', got "
        )
