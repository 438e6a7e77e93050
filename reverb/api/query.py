"""The query of a request."""

from urllib.parse import unquote


class Query:
    """A query string's names and values.

    Args:
        text: As it was on the wire.

    Attributes:
        raw: Names and values, not decoded.
        pairs: Names and values, decoded.
    """

    def __init__(self, text: str) -> None:
        parts = [part.partition("=") for part in text.split("&") if part]
        self.raw = [(name, value) for name, _, value in parts]
        self.pairs = self.raw
        if "%" in text:
            self.pairs = [(unquote(name), unquote(value)) for name, value in self.raw]

    def one(self, name: str) -> str | None:
        """Get the last value of a name; None when there is none."""
        return next((value for n, value in reversed(self.pairs) if n == name), None)

    def many(self, name: str) -> list[str]:
        """Get every value of an array: ``name[]=a&name[]=b`` or ``name[0]=a``."""
        start = name + "["
        return [value for n, value in self.pairs if n.startswith(start)]
