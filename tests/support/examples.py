"""The number of examples of a test with random input, in proportion to the ring of tests."""

from hypothesis import settings


def examples(number):
    """Scale a number of examples to the ring: the quick one gets a fifth, as by its profile."""
    return number * settings.default.max_examples // settings.get_profile("bounded").max_examples
