"""The bar on quality control: right pictures in time, beside fixed steps live and beside a cascade in virtual time."""

from collections.abc import Callable

from edgegen.bench._goodput_cascade import cascade_bars
from edgegen.bench._goodput_live import live_bars
from edgegen.core.result import Bar

NAME = "goodput"
SUMMARY = (
    "right pictures in time around the capacity: beside fixed steps live, beside DiffServe's cascade in virtual time"
)


def run(progress: Callable[[str], None]) -> list[Bar]:
    """Measure everything; takes about fifteen minutes."""
    return [*live_bars(progress), *cascade_bars(progress)]
