"""The parameters in the query of a signed request, in the form that the client signs.

A client signs a text such as ``a=1&b=2``: names in lower case, values without percent-encoding, and
the elements of an array joined with commas, as the PHP SDK joins them. The routes' functions get
the parameters as the client signed them, so two queries with the same signature have the same
effect. The server refuses a query whose signed text could also be the signed text of other
parameters.
"""

import re

from reverb.api.responses import ApiError

_PLAIN_NAMES = re.compile("[^&=[]*+")
_PARAMETER = re.compile("&[^&=]*+=")

Parameters = dict[str, str]
"""The value of each parameter, by the parameter's name in lower case."""


def read_parameters(pairs: list[tuple[str, str]]) -> Parameters:
    """Return the parameters of a query.

    Args:
        pairs: The names and values in the query, in their order.

    Raises:
        ApiError: With 400 if the query has a parameter twice, or if ``&`` and ``=`` in a name or
            a value make the signed text ambiguous.
    """
    parameters = {name.lower(): value for name, value in pairs}
    if "&" in "".join(parameters.values()):
        _check_values(pairs)
    if len(parameters) < len(pairs) or not _PLAIN_NAMES.fullmatch("".join(parameters)):
        return _join_arrays(pairs)
    return parameters


def _check_values(pairs: list[tuple[str, str]]) -> None:
    """Refuse a value such as ``1&b=2``, which in the signed text looks like two parameters."""
    for name, value in pairs:
        if _PARAMETER.search(value):
            raise ApiError(
                400,
                f"Parameter {name[:60]!r}: its value contains & and =, so the signature could be "
                "that of two parameters; send the value as JSON in the body",
            )


def _join_arrays(pairs: list[tuple[str, str]]) -> Parameters:
    """Return the parameters; join the elements of an array, such as ``info[0]``, with commas.

    Raises:
        ApiError: With 400 if a parameter that is not an array occurs twice, or if a decoded name
            contains ``&`` or ``=``.
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
    """Return the name of an array, such as ``info`` for ``info[0]``; None for other parameters."""
    if not name.endswith("]"):
        return None
    array, bracket, index = name[:-1].rpartition("[")
    return array if bracket and "]" not in index else None
