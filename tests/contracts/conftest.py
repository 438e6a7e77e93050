"""Makes pytest explain failed assertions of the contract suites as it does in test modules."""

import pytest

pytest.register_assert_rewrite("reverb.testing.contracts")
