import math

import pytest

from edgegen.core.errors import InputError
from edgegen.core.units import db_to_ratio, dbm_to_w, format_si, parse_quantity


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("20 ms", "time", 0.02),
        ("1.5s", "time", 1.5),
        ("50 Mbit/s", "rate", 50e6),
        ("2 kW", "power", 2000.0),
        ("1 Wh", "energy", 3600.0),
        ("2 GiB", "size", 2.0**31),
        ("3.5 GHz", "frequency", 3.5e9),
        ("1e-3 USD", "money", 1e-3),
        ("350 m", "distance", 350.0),
        ("0.35km", "distance", 350.0),
        ("4 Mbit", "data volume", 4e6),
        ("500 kB", "data volume", 4e6),
        ("1 KiB", "data volume", 8192.0),
        ("1.36 TFLOP", "compute work", 1.36e12),
        ("4 W/GHz^3", "power per cubed clock", 4e-27),
    ],
)
def test_text_with_a_unit_becomes_an_si_number(text, kind, value):
    assert parse_quantity(text, kind) == pytest.approx(value)


@pytest.mark.parametrize("text", ["20", "ms", "20 W", "20 parsecs", "", "nan s", 20])
def test_text_without_a_fitting_unit_is_refused_with_the_units_that_fit(text):
    with pytest.raises(InputError, match="units: s, ms, us, min, h"):
        parse_quantity(text, "time")


@pytest.mark.parametrize("text", ["4 W/GHz3", "4 W/GHz^2", "4 ^3", "4 W"])
def test_a_power_of_a_unit_is_part_of_the_unit(text):
    with pytest.raises(InputError, match="expected a power per cubed clock such as '1 W/GHz"):
        parse_quantity(text, "power per cubed clock")


def test_an_infinite_quantity_is_refused():
    with pytest.raises(InputError, match="finite time, got '1e999 s'"):
        parse_quantity("1e999 s", "time")


def test_decibels():
    assert db_to_ratio(3.0103) == pytest.approx(2.0, rel=1e-5)
    assert dbm_to_w(30.0) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0123, "12.3 ms"),
        (0.0, "0 s"),
        (2.5e-7, "250 ns"),
        (1500.0, "1.5 ks"),
        (math.inf, "inf s"),
        (-0.5, "-500 ms"),
    ],
)
def test_numbers_are_written_with_a_readable_prefix(value, text):
    assert format_si(value, "s") == text
