"""A cache that strangers cannot fill with what is large."""

from reverb.caches import cache_short_keys


def test_short_arguments_are_looked_up_once_and_long_ones_each_time():
    asked = []
    length = cache_short_keys(
        lambda text: asked.append(text) or len(text), max_entries=10, max_length=3
    )

    assert [length(text) for text in ["abc", "abcd", "abc", "abcd"]] == [3, 4, 3, 4]
    assert asked == ["abc", "abcd", "abcd"]


def test_the_last_used_ones_are_kept():
    asked = []
    upper = cache_short_keys(
        lambda text: asked.append(text) or text.upper(), max_entries=2, max_length=3
    )

    for text in ["a", "b", "a", "c", "a", "b"]:
        assert upper(text) == text.upper()
    assert asked == ["a", "b", "c", "b"]
