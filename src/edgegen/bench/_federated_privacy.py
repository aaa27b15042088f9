"""What an attacker learns of the pictures that an adapter was trained on."""

from __future__ import annotations

from collections.abc import Callable

from edgegen.core.result import Bar

CLEAR, HIDDEN, EPSILON = 0.75, 0.55, 8.0


def privacy_bars(progress: Callable[[str], None]) -> list[Bar]:
    """Attack an over-trained adapter and private ones; the stronger of two attacks counts."""
    from edgegen.tune.privacy.leakage import OVERTRAINED, PRIVATE_FEW, PRIVATE_MANY, measure_leakage

    bars = []
    for trial in (OVERTRAINED, PRIVATE_FEW, PRIVATE_MANY):
        found = measure_leakage(trial, progress=progress)
        worst = max((found.by_loss, found.calibrated), key=lambda attack: attack.auc)
        known = {"n": found.runs * (min(trial.members, 200) + trial.others), "low": worst.low, "high": worst.high}
        name = f"membership inference, {trial.name}: area under the curve"
        if trial is OVERTRAINED:
            bars.append(Bar.at_least(name, worst.auc, CLEAR, **known))
        else:
            bars.append(Bar.at_most(name, worst.auc, HIDDEN, **known))
            bars.append(Bar.at_most(f"{trial.name}: epsilon spent", found.epsilon, EPSILON))
        bars.append(
            Bar.report(
                f"{trial.name}: loss of pictures not trained on, after over before", found.other_loss / found.base_loss
            )
        )
    return bars
