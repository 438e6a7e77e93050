"""Names that no other test of the run uses."""

import itertools

_numbers = itertools.count(1)


def unique(word):
    """Return a word with a number, such as the key prefix of one test's deployment."""
    return f"{word}{next(_numbers)}"
