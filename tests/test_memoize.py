"""A cache that clients cannot fill with large entries."""

from reverb.memoize import memoize_short_keys


def test_results_for_short_arguments_are_cached_and_for_long_ones_computed_each_time():
    calls = []
    length = memoize_short_keys(
        lambda text: calls.append(text) or len(text), max_entries=10, max_length=3
    )

    assert [length(text) for text in ["abc", "abcd", "abc", "abcd"]] == [3, 4, 3, 4]
    assert calls == ["abc", "abcd", "abcd"]


def test_the_most_recently_used_results_are_kept():
    calls = []
    upper = memoize_short_keys(
        lambda text: calls.append(text) or text.upper(), max_entries=2, max_length=3
    )

    for text in ["a", "b", "a", "c", "a", "b"]:
        assert upper(text) == text.upper()
    assert calls == ["a", "b", "c", "b"]
