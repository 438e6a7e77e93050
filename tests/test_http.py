"""Requests as values: their query and their headers."""

import pytest

from reverb.http import Headers, Query, make_request


class TestQuery:
    @pytest.mark.parametrize(
        ("text", "pairs"),
        [
            ("", []),
            ("a=1&b=2", [("a", "1"), ("b", "2")]),
            ("a=1&a=2", [("a", "1"), ("a", "2")]),
            ("a", [("a", "")]),
            ("a=b=c", [("a", "b=c")]),
            ("&&a=1&", [("a", "1")]),
            ("a+b=c+d", [("a+b", "c+d")]),
            ("a%20b=%C3%A4", [("a b", "ä")]),
            ("a=%FF&b=%", [("a", "\ufffd"), ("b", "%")]),
        ],
    )
    def test_pairs_are_decoded_in_order(self, text, pairs):
        assert Query(text).pairs == pairs

    def test_raw_pairs_are_not_decoded(self):
        assert Query("a%20b=%C3%A4").raw == [("a%20b", "%C3%A4")]

    def test_get_returns_the_last_value(self):
        query = Query("a=1&a=2&b=")

        assert (query.get("a"), query.get("b"), query.get("c")) == ("2", "", None)

    def test_an_array_has_all_its_values(self):
        assert Query("c[]=1&c[1]=2&c=3&cc[]=4&c%5B%5D=5").get_array("c") == ["1", "2", "5"]


class TestHeaders:
    def test_names_are_case_insensitive(self):
        headers = Headers(b"ACCEPT: text/plain\r\n")

        assert headers.get("accept") == headers.get("Accept") == "text/plain"

    def test_white_space_around_a_value_is_removed(self):
        assert Headers(b"A:\t b c \r\n").get("a") == "b c"

    def test_a_repeated_header_has_all_values(self):
        assert Headers(b"A: 1\r\nB: 2\r\na: 3\r\n").get("A") == "1, 3"

    def test_a_missing_header_is_none(self):
        assert Headers(b"").get("a") is None

    def test_a_value_may_contain_colons_and_other_bytes(self):
        assert Headers(b"A: http://x\xe4\x85\r\n").get("a") == "http://x\xe4\x85"


def test_the_target_is_divided_into_path_and_query():
    request = make_request(b"POST", b"/a%20b?c=d?e", b"A: 1\r\n", b"body")

    assert (request.method, request.path, request.body) == ("POST", "/a%20b", b"body")
    assert request.query.pairs == [("c", "d?e")]
    assert request.headers.get("a") == "1"
