"""The query string of a request."""

from urllib.parse import unquote


class Query:
    """The parameters of a query string, in order. A ``+`` is not decoded to a space.

    Args:
        text: The query string as received, still percent-encoded.

    Attributes:
        raw: Names and values, still percent-encoded.
        pairs: Names and values, percent-decoded.
    """

    def __init__(self, text: str) -> None:
        parts = [part.partition("=") for part in text.split("&") if part]
        self.raw = [(name, value) for name, _, value in parts]
        self.pairs = self.raw
        if "%" in text:
            self.pairs = [(unquote(name), unquote(value)) for name, value in self.raw]

    def get(self, name: str) -> str | None:
        """Return the last value of a parameter, or None if the query does not contain it."""
        return next((value for n, value in reversed(self.pairs) if n == name), None)

    def get_array(self, name: str) -> list[str]:
        """Return all values of an array, sent as ``name[]=a&name[]=b`` or as ``name[0]=a``."""
        start = name + "["
        return [value for n, value in self.pairs if n.startswith(start)]
