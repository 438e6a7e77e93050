"""Requests as values: their headers and their target."""

from reverb.http import Headers, make_request


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
    request = make_request(b"POST", b"/a%20b?c=d?e", b"A: 1\r\n", has_body=True)

    assert (request.method, request.path, request.query) == ("POST", "/a%20b", "c=d?e")
    assert request.has_body
