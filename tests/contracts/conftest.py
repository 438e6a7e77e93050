"""The contract suites explain a failure as any test does."""

import pytest

pytest.register_assert_rewrite("reverb.testing.contracts")
