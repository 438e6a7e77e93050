"""The depth of JSON that can be decoded depends on the version of Python."""

import sys

import pytest

limits_nesting = pytest.mark.skipif(
    sys.version_info >= (3, 14),
    reason="since Python 3.14 the size of the stack limits the nesting of JSON, not a number",
)
"""Skips a test that expects an error from JSON of some thousand levels."""
