"""Units exist only where text is parsed; inside, everything is SI. Also the field's decibel conversions."""

import math
import re

from edgegen.core.errors import InputError

_SCALES: dict[str, dict[str, float]] = {
    "time": {"s": 1.0, "ms": 1e-3, "us": 1e-6, "min": 60.0, "h": 3600.0},
    "rate": {
        "bps": 1.0,
        "kbps": 1e3,
        "Mbps": 1e6,
        "Gbps": 1e9,
        "bit/s": 1.0,
        "kbit/s": 1e3,
        "Mbit/s": 1e6,
        "Gbit/s": 1e9,
    },
    "power": {"W": 1.0, "mW": 1e-3, "kW": 1e3},
    "energy": {"J": 1.0, "mJ": 1e-3, "kJ": 1e3, "Wh": 3600.0, "kWh": 3.6e6},
    "size": {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30},
    "frequency": {"Hz": 1.0, "kHz": 1e3, "MHz": 1e6, "GHz": 1e9},
    "money": {"USD": 1.0},
    "distance": {"m": 1.0, "km": 1e3, "cm": 1e-2},
    "data volume": {
        "bit": 1.0,
        "kbit": 1e3,
        "Mbit": 1e6,
        "Gbit": 1e9,
        "B": 8.0,
        "kB": 8e3,
        "MB": 8e6,
        "GB": 8e9,
        "KiB": 8 * 2.0**10,
        "MiB": 8 * 2.0**20,
    },  # in bits, while "size" is in bytes
    "compute work": {"FLOP": 1.0, "MFLOP": 1e6, "GFLOP": 1e9, "TFLOP": 1e12, "PFLOP": 1e15},
    "power per cubed clock": {"W/GHz^3": 1e-27, "mW/GHz^3": 1e-30, "W/Hz^3": 1.0},
}
_QUANTITY = re.compile(r"^\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([A-Za-z/]+(?:\^\d)?)\s*$")


def parse_quantity(text: str, kind: str) -> float:
    """Return an SI number for text such as `20 ms`, `50 Mbit/s` or `1.5 W`.

    **Raises** `InputError` when the text is not a number with a unit of that kind.
    """
    scales = _SCALES[kind]
    match = _QUANTITY.match(text) if isinstance(text, str) else None
    if match is None or match[2] not in scales:
        known = ", ".join(scales)
        raise InputError(f"expected a {kind} such as '1 {next(iter(scales))}' (units: {known}), got {text!r}")
    value = float(match[1]) * scales[match[2]]
    if not math.isfinite(value):
        raise InputError(f"expected a finite {kind}, got {text!r}")
    return value


def si_number(text: str) -> float | None:
    """Return the SI number of text such as `20 MHz` or `20`, whatever its kind; None for any other text."""
    number, _, unit = text.strip().partition(" ")
    try:
        value = float(number)
    except ValueError:
        return None
    if not unit:
        return value
    return next((value * scales[unit] for scales in _SCALES.values() if unit in scales), None)


def db_to_ratio(value_db: float) -> float:
    """Convert decibels to a power ratio."""
    return 10.0 ** (value_db / 10.0)


def dbm_to_w(value_dbm: float) -> float:
    """Convert decibel-milliwatts to watts."""
    return 1e-3 * db_to_ratio(value_dbm)


def format_si(value: float, unit: str) -> str:
    """Write a number with a readable prefix: `format_si(0.0123, 's')` is `12.3 ms`."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g} {unit}"
    for factor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n")):
        if abs(value) >= factor * (1 - 1e-12):
            return f"{value / factor:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit}"
