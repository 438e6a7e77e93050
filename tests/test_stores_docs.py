"""The example broker of docs/stores.md passes the example tests of that page."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs" / "stores.md"
CODE = re.findall(r"^```python\n(.*?)^```", DOCS.read_text(), re.MULTILINE | re.DOTALL)
BROKER, TESTS = (code for code in CODE if "class " in code)

pytest.register_assert_rewrite("reverb.testing.contracts")
_names: dict[str, object] = {"__name__": __name__}
exec(BROKER + TESTS, _names)  # noqa: S102 - the code of this repository's own page

TestOneNode = _names["TestOneNode"]
TestSeveralNodes = _names["TestSeveralNodes"]
