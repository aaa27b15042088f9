"""The bars on federated fine-tuning: quality beside central and local training, bytes, exactness, privacy, poison, processes."""

from collections.abc import Callable

from edgegen.bench._federated_exact import exact_bars
from edgegen.bench._federated_poison import poison_bars
from edgegen.bench._federated_privacy import privacy_bars
from edgegen.bench._federated_processes import process_bars
from edgegen.bench._federated_quality import quality_bars
from edgegen.core.result import Bar

NAME = "federated"
SUMMARY = (
    "federated fine-tuning beside central and local training: quality, bytes, exactness, privacy, poison, processes"
)


def run(progress: Callable[[str], None]) -> list[Bar]:
    """Measure everything; takes about an hour."""
    parts = (exact_bars, quality_bars, poison_bars, privacy_bars, process_bars)
    return [bar for part in parts for bar in part(progress)]
