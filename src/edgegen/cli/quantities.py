"""Options that are quantities with a unit, such as '800 ms'."""

import math


def read_quantity(text: str | None, kind: str, option: str) -> float:
    """Return an option in SI units; infinity where it is not said. **Raises** `InputError` that names the option."""
    from edgegen.core.errors import InputError
    from edgegen.core.units import parse_quantity

    if text is None:
        return math.inf
    try:
        return parse_quantity(text, kind)
    except InputError as error:
        raise InputError(f"{option}: {error}", param=option) from None
