"""Channel names: their characters, and the meaning of their prefixes."""

import string

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from reverb.protocol.names import (
    SERVER_TO_USER_PREFIX,
    ChannelKind,
    ChannelType,
    channel_name_problem,
    channel_type,
    user_id_problem,
)

LEGAL = string.ascii_letters + string.digits + "_-=@,.;"
PREFIXES = {
    "": ChannelType(ChannelKind.PUBLIC, cached=False),
    "private-": ChannelType(ChannelKind.PRIVATE, cached=False),
    "presence-": ChannelType(ChannelKind.PRESENCE, cached=False),
    "private-encrypted-": ChannelType(ChannelKind.ENCRYPTED, cached=False),
    "cache-": ChannelType(ChannelKind.PUBLIC, cached=True),
    "private-cache-": ChannelType(ChannelKind.PRIVATE, cached=True),
    "presence-cache-": ChannelType(ChannelKind.PRESENCE, cached=True),
    "private-encrypted-cache-": ChannelType(ChannelKind.ENCRYPTED, cached=True),
    "#server-to-user-": ChannelType(ChannelKind.USER, cached=False),
}
ILLEGAL = [
    "a b",
    "a:b",
    "a/b",
    "a\\b",
    "a%23",
    "a+b",
    "a*",
    "a'b",
    'a"b',
    "news\n",
    "\nnews",
    "news\r\n",
    "news ",
    "news\0",
    "\0",
    "caf\u00e9",
    "\u0661\u0662",  # digits outside of ASCII
    "\U0001f600",
    "\ud800",
]


class TestChannelType:
    @pytest.mark.parametrize(("prefix", "expected"), PREFIXES.items())
    def test_each_prefix_makes_its_type(self, prefix, expected):
        assert channel_type(prefix + "x") == expected

    @pytest.mark.parametrize(("prefix", "expected"), PREFIXES.items())
    def test_a_prefix_is_a_complete_name(self, prefix, expected):
        assert channel_type(prefix) == expected

    @given(prefix=st.sampled_from(list(PREFIXES)), rest=st.text(LEGAL, min_size=1, max_size=150))
    def test_the_longest_prefix_determines_the_type(self, prefix, rest):
        name = prefix + rest
        longer = [other for other in PREFIXES if len(other) > len(prefix)]
        assume(not any(name.startswith(other) for other in longer))

        assert channel_type(name) == PREFIXES[prefix]
        assert channel_name_problem(name, 200, 128) is None

    @pytest.mark.parametrize(
        "name",
        [
            "my-cache-x",
            "my-private-x",
            "x-presence-y",
            "encrypted-x",
            "encrypted-cache-x",
            "Private-x",
            "PRESENCE-x",
            "private",
            "presence",
            "cache",
            "privatecache-x",
            " private-x",
            "-private-x",
            "server-to-user-1",
        ],
    )
    def test_only_the_beginning_of_a_name_counts(self, name):
        assert channel_type(name) == ChannelType(ChannelKind.PUBLIC, cached=False)

    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("cache-private-x", ChannelType(ChannelKind.PUBLIC, cached=True)),
            ("cache-presence-x", ChannelType(ChannelKind.PUBLIC, cached=True)),
            ("cache-cache-x", ChannelType(ChannelKind.PUBLIC, cached=True)),
            ("private-my-cache-x", ChannelType(ChannelKind.PRIVATE, cached=False)),
            ("private-presence-x", ChannelType(ChannelKind.PRIVATE, cached=False)),
            ("private-encrypted", ChannelType(ChannelKind.PRIVATE, cached=False)),
            ("private-encryptedcache-x", ChannelType(ChannelKind.PRIVATE, cached=False)),
            ("private-cache-encrypted-x", ChannelType(ChannelKind.PRIVATE, cached=True)),
            ("private-encrypted-cache", ChannelType(ChannelKind.ENCRYPTED, cached=False)),
            ("private-encrypted-private-cache-x", ChannelType(ChannelKind.ENCRYPTED, cached=False)),
            ("presence-encrypted-x", ChannelType(ChannelKind.PRESENCE, cached=False)),
            ("presence-encrypted-cache-x", ChannelType(ChannelKind.PRESENCE, cached=False)),
        ],
    )
    def test_prefixes_inside_prefixes(self, name, expected):
        assert channel_type(name) == expected

    @pytest.mark.parametrize(("prefix", "expected"), PREFIXES.items())
    def test_private_encrypted_and_presence_are_signed(self, prefix, expected):
        assert channel_type(prefix).signed == prefix.startswith(("private-", "presence-"))


class TestChannelNameProblem:
    @pytest.mark.parametrize("character", LEGAL)
    def test_every_legal_character_is_a_legal_name(self, character):
        assert channel_name_problem(character, 200, 128) is None

    @pytest.mark.parametrize("name", ILLEGAL)
    @pytest.mark.parametrize(
        "prefix", ["", "x", "private-", "presence-cache-", SERVER_TO_USER_PREFIX]
    )
    def test_anything_else_is_illegal(self, prefix, name):
        problem = channel_name_problem(prefix + name, 200, 128)

        assert "Invalid channel name" in problem
        assert problem.isascii()

    @pytest.mark.parametrize("name", ["", SERVER_TO_USER_PREFIX])
    def test_an_empty_name_is_illegal(self, name):
        assert "Invalid channel name" in channel_name_problem(name, 200, 128)

    @given(st.text(max_size=300))
    def test_a_name_is_legal_if_each_character_is(self, name):
        body = name.removeprefix(SERVER_TO_USER_PREFIX)
        legal = bool(body) and set(body) <= set(LEGAL)

        assert (channel_name_problem(name, 0, 128) is None) == legal

    @pytest.mark.parametrize(
        "name",
        [
            "#",
            "#news",
            "#server-to-user",
            "#online-1",
            "#server-to-user-",
            "##server-to-user-1",
            "#server-to-user-#server-to-user-1",
            "#server-to-user-1#",
            "#SERVER-TO-USER-1",
            "private-#server-to-user-1",
            "x#server-to-user-1",
            "#private-x",
        ],
    )
    def test_a_hash_is_legal_only_in_the_prefix_of_a_users_channel(self, name):
        assert channel_name_problem(name, 200, 128) is not None

    @pytest.mark.parametrize("prefix", ["", "private-", "private-encrypted-cache-"])
    def test_the_length_counts_the_prefix(self, prefix):
        name = prefix + "x" * (200 - len(prefix))

        assert channel_name_problem(name, 200, 128) is None
        assert "longer than 200" in channel_name_problem(name + "x", 200, 128)

    @pytest.mark.parametrize("max_user_id", [1, 128, 300])
    def test_the_longest_user_id_has_a_legal_channel(self, max_user_id):
        name = SERVER_TO_USER_PREFIX + "x" * max_user_id

        assert channel_name_problem(name, 200, max_user_id) is None
        problem = channel_name_problem(name + "x", 200, max_user_id)
        assert f"longer than {max_user_id} characters" in problem

    def test_the_limit_is_a_parameter(self):
        assert channel_name_problem("x" * 164, 164, 128) is None
        assert "longer than 164" in channel_name_problem("x" * 165, 164, 128)

    def test_zero_is_no_limit(self):
        assert channel_name_problem("x" * 10_000, 0, 128) is None
        assert channel_name_problem(SERVER_TO_USER_PREFIX + "x" * 10_000, 200, 0) is None

    def test_a_long_name_is_not_repeated_in_full(self):
        assert len(channel_name_problem("\u00e9" * 100_000, 200, 128)) < 1000


class TestUserIdProblem:
    @pytest.mark.parametrize("user_id", ["1", "a@b.example", "a-b_c=d,e.f;g", "x" * 128])
    def test_legal_ids(self, user_id):
        assert user_id_problem(user_id, 128) is None

    @pytest.mark.parametrize("user_id", ["", *ILLEGAL, "#1", "#server-to-user-1"])
    def test_illegal_ids(self, user_id):
        problem = user_id_problem(user_id, 128)

        assert "Invalid user id" in problem
        assert problem.isascii()

    def test_too_long_an_id(self):
        assert "longer than 128" in user_id_problem("x" * 129, 128)
        assert "longer than 5" in user_id_problem("x" * 6, 5)

    def test_zero_is_no_limit(self):
        assert user_id_problem("x" * 10_000, 0) is None
