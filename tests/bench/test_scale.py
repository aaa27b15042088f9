"""The benchmark of wide plans says what it should, on a size that takes a moment."""

import pytest

from edgegen.bench.scale import wide_bars
from edgegen.plan.certified.wide.executors import Processes, Serial


@pytest.mark.parametrize(("executor", "bars"), [(Serial, 8), (Processes, 9)])
def test_a_small_plain_is_measured_and_holds(executor, bars):
    lines = []
    found = wide_bars(200, 12, executor, lines.append, "tight_battery")
    assert len(found) == bars
    assert [bar.bar for bar in found if bar.ok is False] == []
    value = {bar.bar.partition(": ")[2]: bar.value for bar in found}
    assert value["process seconds"] > 0
    assert 0 < value["certified gap"] < value["gap as a part of what servers save"]
    assert 0 < value["users on servers"] <= 200
    assert all(bar.value > 50 for bar in found if bar.unit == "MB")
    assert lines[-1].startswith("other borders")
