"""The parameters in the query of a signed request, as the signature covers them.

A signature covers the text ``a=1&b=2``: names in lower case, values not escaped, the elements of an
array joined with commas as the PHP SDK does. The functions of the routes get the parameters in the
same form, so that no request with the same signature can mean something else. A query whose text
could be read in two ways is refused.
"""

import re

from reverb.api.responses import ApiError

_PLAIN_NAMES = re.compile("[^&=[]*+")
_PARAMETER = re.compile("&[^&=]*+=")

Parameters = dict[str, str]
"""The values of the parameters by their names in lower case."""


def read_parameters(pairs: list[tuple[str, str]]) -> Parameters:
    """Make the parameters of the names and values in a query.

    Args:
        pairs: The names and values, in order.

    Raises:
        ApiError: With 400 if the query has a parameter twice, or has a name or a value that the
            signed text does not separate from others.
    """
    parameters = {name.lower(): value for name, value in pairs}
    if "&" in "".join(parameters.values()):
        _check_values(pairs)
    if len(parameters) < len(pairs) or not _PLAIN_NAMES.fullmatch("".join(parameters)):
        return _join_arrays(pairs)
    return parameters


def _check_values(pairs: list[tuple[str, str]]) -> None:
    """Refuse a value with a decoded ``&`` that would look like the next parameter when signed."""
    for name, value in pairs:
        if _PARAMETER.search(value):
            raise ApiError(
                400,
                f"Parameter {name[:60]!r}: its value contains & and =, so the signature could be "
                "that of two parameters; send the value as JSON in the body",
            )


def _join_arrays(pairs: list[tuple[str, str]]) -> Parameters:
    """Join the elements of each array, such as ``info[0]`` and ``info[1]``, with commas.

    Raises:
        ApiError: With 400 if a parameter that is not an array occurs twice, or a name contains a
            decoded ``&`` or ``=``.
    """
    elements: dict[str, list[str]] = {}
    single = set()
    for name, value in pairs:
        if "&" in name or "=" in name:
            raise ApiError(400, f"Parameter {name[:60]!r}: a name must not contain & or =")
        array = _array_name(name)
        key = (name if array is None else array).lower()
        if key in single or (array is None and key in elements):
            raise ApiError(400, f"{key[:60]} must be given once, not several times")
        if array is None:
            single.add(key)
        elements.setdefault(key, []).append(value)
    return {name: ",".join(values) for name, values in elements.items()}


def _array_name(name: str) -> str | None:
    """Return ``info`` for ``info[]`` and ``info[0]``, and None for any other form of a name."""
    if not name.endswith("]"):
        return None
    array, bracket, index = name[:-1].rpartition("[")
    return array if bracket and "]" not in index else None
