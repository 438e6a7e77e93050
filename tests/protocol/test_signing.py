"""The signatures, with the test vectors of Pusher's documentation (recomputed)."""

import hashlib
import hmac
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reverb.protocol import signing

KEY = "278d425bdf160c739803"
SECRET = "7ad3773142a6692b25b8"
SOCKET_ID = "1234.1234"
MEMBER = '{"user_id":10,"user_info":{"name":"Mr. Channels"}}'
TEXTS = st.text(st.characters(codec=None), max_size=50)  # includes lone surrogates


class TestVectors:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            pytest.param(
                signing.channel_text(SOCKET_ID, "private-foobar"),
                "58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4",
                id="private",
            ),
            pytest.param(
                signing.channel_text(SOCKET_ID, "presence-foobar", MEMBER),
                "31935e7d86dba64c2a90aed31fdc61869f9b22ba9d8863bba239c03ca481bc80",
                id="presence",
            ),
            pytest.param(
                # The documentation prints this value for the text above.
                signing.channel_text(
                    SOCKET_ID, "presence-foobar", MEMBER.replace("Channels", "Pusher")
                ),
                "afaed3695da2ffd16931f457e338e6c9f2921fa133ce7dac49f529792be6304c",
                id="presence-as-printed",
            ),
            pytest.param(
                signing.channel_text(SOCKET_ID, "presence-foobar"),
                "71506e66e7fdca106571b8999a849ad34245bc653772e51e0026c1a2475b92ba",
                id="presence-signed-in",
            ),
            pytest.param(
                signing.user_text(SOCKET_ID, '{"id":"12345"}'),
                "4708d583dada6a56435fb8bc611c77c359a31eebde13337c16ab43aa6de336ba",
                id="user",
            ),
            pytest.param(
                '{"time_ms":1327078148132,"events":'
                '[{"name":"channel_occupied","channel":"my-channel"}]}',
                "c19001ae3963ccb13bf618e5b16ba9848e7e74df0993aa0689168e341c6833cf",
                id="webhook",
            ),
        ],
    )
    def test_a_vector(self, text, expected):
        assert signing.sign(SECRET, text) == expected
        assert signing.sign(SECRET, text.encode()) == expected

    def test_an_api_request(self):
        body = b'{"name":"foo","channels":["project-3"],"data":"{\\"some\\":\\"data\\"}"}'
        body_md5 = hashlib.md5(body, usedforsecurity=False).hexdigest()
        text = signing.request_text(
            "POST",
            "/apps/3/events",
            [
                ("auth_version", "1.0"),
                ("body_md5", body_md5),
                ("auth_key", KEY),
                ("auth_timestamp", "1353088179"),
                ("auth_signature", "whatever"),
            ],
        )

        assert body_md5 == "ec365a775a4cd0599faeb73354201b6f"
        assert text == (
            f"POST\n/apps/3/events\nauth_key={KEY}&auth_timestamp=1353088179&auth_version=1.0"
            f"&body_md5={body_md5}"
        )
        assert (
            signing.sign(SECRET, text)
            == "da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c"
        )


class TestSign:
    @given(secret=st.text(max_size=80), text=st.binary(max_size=200))
    def test_it_is_hmac_sha256_in_lower_case_hexadecimal(self, secret, text):
        expected = hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()

        assert signing.sign(secret, text) == expected

    @given(TEXTS)
    def test_no_text_crashes_it(self, text):
        assert len(signing.sign(SECRET, text)) == 64

    def test_lone_surrogates_are_distinguished(self):
        assert signing.sign(SECRET, "\ud800") != signing.sign(SECRET, "\ud801")


class TestConstantTimeEqual:
    @given(TEXTS, TEXTS)
    def test_it_is_equality(self, one, other):
        assert signing.constant_time_equal(one, other) == (one == other)
        assert signing.constant_time_equal(one, one)

    @pytest.mark.parametrize("given", ["", "a", "ABC", "abc ", "abcd", "\u00e4bc", "\ud800"])
    def test_any_text_of_a_client(self, given):
        assert not signing.constant_time_equal("abc", given)


class TestTexts:
    def test_channel_data_is_signed_on_any_channel(self):
        assert signing.channel_text("1.2", "private-x", "{}") == "1.2:private-x:{}"

    def test_empty_channel_data_is_channel_data(self):
        assert signing.channel_text("1.2", "private-x", "") == "1.2:private-x:"

    @pytest.mark.parametrize("text", ['{"a": "\\/"}', '{"a":"\\u00e9"}', ' {"a":1}\n', "\u00e9"])
    def test_channel_data_and_user_data_are_not_reencoded(self, text):
        assert signing.channel_text("1.2", "x", text) == "1.2:x:" + text
        assert signing.user_text("1.2", text) == "1.2::user::" + text


class TestRequestText:
    def test_the_method_is_in_upper_case(self):
        assert signing.request_text("get", "/Path", []) == "GET\n/Path\n"

    def test_names_are_in_lower_case_and_sorted_by_it(self):
        text = signing.request_text("GET", "/", [("B", "2"), ("a", "1"), ("C", "3")])

        assert text == "GET\n/\na=1&b=2&c=3"

    def test_values_are_not_escaped(self):
        pairs = [("filter", "A&b=c d%20\u00e9+")]

        assert signing.request_text("GET", "/", pairs) == "GET\n/\nfilter=A&b=c d%20\u00e9+"

    @pytest.mark.parametrize("name", ["auth_signature", "AUTH_SIGNATURE", "Auth_Signature"])
    def test_the_signature_is_left_out(self, name):
        assert signing.request_text("GET", "/", [("a", "1"), (name, "x")]) == "GET\n/\na=1"

    def test_an_empty_value_is_kept(self):
        assert signing.request_text("GET", "/", [("a", ""), ("b", "")]) == "GET\n/\na=&b="

    def test_an_empty_bodys_digest_is_a_parameter_like_any(self):
        # The SDK for Python sends it with every GET.
        pairs = [("body_md5", "d41d8cd98f00b204e9800998ecf8427e"), ("auth_key", "k")]

        text = signing.request_text("GET", "/", pairs)

        assert text == "GET\n/\nauth_key=k&body_md5=d41d8cd98f00b204e9800998ecf8427e"

    @given(st.dictionaries(st.text("abcxyz_", min_size=1), TEXTS), st.randoms())
    def test_the_order_of_the_query_does_not_matter(self, pairs, random):
        shuffled = list(pairs.items())
        random.shuffle(shuffled)

        text = signing.request_text("GET", "/", shuffled)

        assert text == signing.request_text("GET", "/", pairs.items())


def test_a_php_servers_escapes_are_part_of_what_is_signed():
    data = json.dumps({"user_id": "1", "user_info": {"url": "a/b"}}).replace("/", "\\/")

    signed = signing.sign(SECRET, signing.channel_text(SOCKET_ID, "presence-x", data))

    assert signed != signing.sign(
        SECRET, signing.channel_text(SOCKET_ID, "presence-x", data.replace("\\/", "/"))
    )
