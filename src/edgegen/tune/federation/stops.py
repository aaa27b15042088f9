"""When a run ends: a pure function of what is written down, so a run that goes on after a kill ends where it would have."""

from collections.abc import Callable, Sequence

from edgegen.tune.federation.records import Round
from edgegen.tune.federation.settings import FederatedSettings

Epsilon = Callable[[int], float]  # epsilon that so many rounds spend


def reason_to_stop(history: Sequence[Round], settings: FederatedSettings, epsilon: Epsilon | None) -> str | None:
    """Return why no further round is begun, or None.

    Budgets are never overdrawn: a round is not begun if it would spend more than is left, judged for bytes by the round
    before. `rounds`, `bytes`, `epsilon` and `plateau` are the reasons.
    """
    done = len(history)
    if done >= settings.rounds:
        return "rounds"
    if settings.privacy.max_epsilon is not None and epsilon and epsilon(done + 1) > settings.privacy.max_epsilon:
        return "epsilon"
    if settings.max_bytes is not None and history:
        spent = sum(record.wire_bytes for record in history)
        if spent + history[-1].wire_bytes > settings.max_bytes:
            return "bytes"
    if settings.plateau is not None and _levelled_off(history, settings):
        return "plateau"
    return None


def _levelled_off(history: Sequence[Round], settings: FederatedSettings) -> bool:
    """Return whether the last `patience` rounds each gained less than the share `plateau` of the best before them."""
    values = [record.quality[settings.quality] for record in history if settings.quality in record.quality]
    sign = 1.0 if settings.better == "higher" else -1.0
    best, without = None, 0
    for value in values:
        if best is None or sign * (value - best) >= max(settings.plateau or 0.0, 1e-12) * abs(best):
            without = 0
        else:
            without += 1
        best = value if best is None or sign * (value - best) > 0 else best
    return without >= settings.patience
