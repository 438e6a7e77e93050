"""Checks of a new connection: versions, apps and origins."""

import msgspec
import pytest

from reverb.apps import App
from reverb.protocol.codes import Code
from reverb.protocol.handshake import (
    SUBPROTOCOL,
    Rejection,
    check_app,
    check_origin,
    check_version,
    parse_key,
    parse_query,
)

APP = App(id="1", key="k", secret="s")


def rejection(function, *arguments):
    with pytest.raises(Rejection) as raised:
        function(*arguments)
    assert raised.value.reason == str(raised.value)
    # The reason must fit into the payload of a close frame, shortened if needed (RFC 6455, 5.5).
    assert len(raised.value.reason) < 1000
    return raised.value.code


class TestProtocol:
    @pytest.mark.parametrize("protocol", ["4", "5", "6", "7"])
    def test_supported_versions(self, protocol):
        check_version({"protocol": protocol})

    @pytest.mark.parametrize("protocol", ["0", "1", "2", "3", "8", "70", "9" * 5000])
    def test_unsupported_versions(self, protocol):
        code = rejection(check_version, {"protocol": protocol})

        assert code == Code.UNSUPPORTED_PROTOCOL

    @pytest.mark.parametrize("query", [{}, {"protocol": ""}, {"version": "8.6.0"}])
    def test_without_a_version_the_client_is_served(self, query):
        check_version(query)

    @pytest.mark.parametrize(
        "protocol",
        ["x", "7.0", "-7", "+7", " 7", "7\n", "0x7", "seven", "\u0667", "\u00b2", "\uff17"],
    )
    def test_a_version_that_is_not_a_number(self, protocol):
        assert rejection(check_version, {"protocol": protocol}) == Code.BAD_VERSION

    def test_the_last_of_many_counts(self):
        assert parse_query("protocol=1&version=x%2Fy&protocol=7") == {
            "protocol": "7",
            "version": "x/y",
        }

    @pytest.mark.parametrize("query", ["a&" * 200, "a=" + "%" * 100])
    def test_a_query_that_takes_long_to_parse_is_refused(self, query):
        assert rejection(parse_query, query) == Code.PATH_NOT_FOUND

    def test_the_subprotocol_of_swift(self):
        assert SUBPROTOCOL == "pusher-channels-protocol-7"


class TestKey:
    def test_it_is_decoded(self):
        assert parse_key("/a/b/app/k%65y", "/a/b") == "key"

    @pytest.mark.parametrize("path", ["/", "/app", "/app/", "/x/app/k", "/app/a%2Fb", "/app/%%%"])
    def test_another_path(self, path):
        assert rejection(parse_key, path.replace("%%%", "%" * 100), "") == Code.PATH_NOT_FOUND


class TestVersion:
    @pytest.mark.parametrize(
        "version",
        ["8.6.0", "1.9.3", "0", "7.0.3-beta.1", "2.0.0+build_7", "1.0.0 12", "main", "x" * 64, ""],
    )
    def test_well_formed(self, version):
        check_version({"protocol": "7", "version": version})

    def test_it_may_be_missing(self):
        check_version({"protocol": "7"})

    @pytest.mark.parametrize(
        "version",
        ["-1", ".1", " 1", "1\n", "1/2", "<b>", "1\0", "caf\u00e9", "\u0661", "x" * 65],
    )
    def test_badly_formed(self, version):
        query = {"protocol": "7", "version": version}

        assert rejection(check_version, query) == Code.BAD_VERSION

    def test_other_parameters_do_not_matter(self):
        check_version({"protocol": "7", "client": "\0", "flash": "x", "": ""})


class TestApp:
    def test_an_existing_app(self):
        assert check_app(APP, "k") is APP

    @pytest.mark.parametrize("key", ["x", "\u00e9", "x" * 100_000])
    def test_an_unknown_app(self, key):
        assert rejection(check_app, None, key) == Code.UNKNOWN_APP

    def test_a_disabled_app(self):
        app = msgspec.structs.replace(APP, enabled=False)

        assert rejection(check_app, app, "k") == Code.APP_DISABLED


class TestOrigin:
    @staticmethod
    def admits(patterns, origin, **settings):
        app = msgspec.structs.replace(APP, allowed_origins=tuple(patterns), **settings)
        try:
            check_origin(app, origin)
        except Rejection as error:
            return error.code != Code.UNAUTHORIZED
        return True

    @pytest.mark.parametrize("patterns", [["*"], ["a.example", "*"]])
    @pytest.mark.parametrize("origin", ["", "null", "http://[", "https://x.example", "\0"])
    def test_a_star_admits_everybody(self, patterns, origin):
        assert self.admits(patterns, origin)

    @pytest.mark.parametrize(
        "origin",
        [
            "https://a.example",
            "http://a.example",
            "http://a.example:8080",
            "https://A.Example",
            "capacitor://a.example",
            "https://a.example/",
        ],
    )
    def test_scheme_port_and_case_do_not_matter(self, origin):
        assert self.admits(["a.example"], origin)
        assert self.admits(["A.EXAMPLE"], origin)
        assert self.admits(["x.example", "a.example"], origin)

    @pytest.mark.parametrize(
        "origin",
        [
            "null",
            "a.example",
            "//",
            "https://",
            "http://[",
            "http://[::1",
            "http://]",
            "https://b.example",
            "https://a.example.evil.example",
            "https://xa.example",
            "https://a-example",
            "https://a.example.",
            "https://a.example@evil.example",
            "https://evil.example/a.example",
            "https://evil.example#a.example",
            "https://evil.example?a.example",
            "\0",
            "https://\ud800",
        ],
    )
    def test_any_other_origin_is_rejected(self, origin):
        assert not self.admits(["a.example"], origin)

    @pytest.mark.parametrize(
        ("pattern", "host", "admitted"),
        [
            ("*.a.example", "x.a.example", True),
            ("*.a.example", "x.y.a.example", True),
            ("*.a.example", "a.example", False),
            ("*.a.example", "xa.example", False),
            ("*.a.example", "x.a.example.evil.example", False),
            ("a.*", "a.example", True),
            ("a.*", "b.a.example", False),
            ("*a*", "xax.example", True),
            ("pr-*.a.example", "pr-17.a.example", True),
            ("localhost", "localhost", True),
            ("127.0.0.1", "127.0.0.1", True),
            ("a.example", "axexample", False),
            ("?.example", "a.example", False),
            ("[ab].example", "a.example", False),
            ("[!a].example", "b.example", False),
            ("[a-z].example", "m.example", False),
            ("a.exampl[e]", "a.example", False),
            ("[", "a", False),
            ("]", "a", False),
            ("[]", "a", False),
            ("(a|b).example", "a.example", False),
            ("a+.example", "aa.example", False),
            ("\\w.example", "a.example", False),
            ("^a.example$", "a.example", False),
        ],
    )
    def test_only_the_star_is_special_in_a_pattern(self, pattern, host, admitted):
        assert self.admits([pattern], f"https://{host}") == admitted

    @pytest.mark.parametrize(
        ("pattern", "origin", "admitted"),
        [
            ("null", "null", True),
            ("null", "file://", False),
            ("null", "http://null", False),
            ("nul*", "null", False),
            ("file://", "file://", True),
            ("file://", "null", False),
            ("capacitor://localhost", "capacitor://localhost", True),
            ("capacitor://localhost", "Capacitor://LOCALHOST", True),
            ("Capacitor://Localhost", "capacitor://localhost", True),
            ("capacitor://localhost", "http://localhost", False),
            ("localhost", "capacitor://localhost", True),
            ("app://.", "app://.", True),
            ("app://*", "app://anything", True),
            ("chrome-extension://abc*", "chrome-extension://abcdef", True),
            ("https://a.example", "https://a.example", True),
            ("https://a.example", "http://a.example", False),
            ("https://a.example", "https://a.example:8443", False),
            ("https://a.example:8443", "https://a.example:8443", True),
            ("https://*.a.example", "https://x.a.example", True),
            ("https://a.example", "https://a.example.evil.example", False),
            ("*://localhost", "ionic://localhost", True),
        ],
    )
    def test_whole_origins(self, pattern, origin, admitted):
        assert self.admits([pattern], origin) == admitted

    def test_a_client_without_an_origin_is_admitted_unless_one_is_required(self):
        assert self.admits(["a.example"], "")
        for patterns in (["a.example"], ["*"]):
            assert not self.admits(patterns, "", require_origin=True)
        assert self.admits(["a.example"], "https://a.example", require_origin=True)

    @pytest.mark.parametrize(
        ("origin", "setting"), [("", "require_origin"), ("null", "allowed_origins")]
    )
    def test_a_rejection_names_the_setting(self, origin, setting):
        app = msgspec.structs.replace(APP, allowed_origins=("a.example",), require_origin=True)
        with pytest.raises(Rejection, match=setting):
            check_origin(app, origin)

    def test_the_setting_fits_into_a_close_frame_beside_a_long_origin(self):
        app = msgspec.structs.replace(APP, allowed_origins=("a.example",))
        with pytest.raises(Rejection) as raised:
            check_origin(app, "https://" + "x" * 500)
        assert "allowed_origins" in raised.value.reason[:123]

    def test_an_address_of_ipv6(self):
        assert self.admits(["::1"], "http://[::1]:8080")

    def test_a_pattern_with_many_stars_is_matched_quickly(self):
        assert not self.admits(["*a" * 50 + "b"], "https://" + "a" * 5000)
