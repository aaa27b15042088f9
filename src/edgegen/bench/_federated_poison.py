"""One of five sites sends its update turned round and ten times as large."""

from __future__ import annotations

from collections.abc import Callable

from edgegen.core.result import Bar

SITES, PICTURES, ROUNDS, STEPS, FACTOR = 5, 150, 3, 20, -10.0
POISONED = 2
ROBUST = ("median", "trimmed-mean", "krum", "multi-krum")
NEAR, BROKEN = 1.2, 1.5


def poison_bars(progress: Callable[[str], None]) -> list[Bar]:
    """Compare the loss on pictures that no site has, with honest sites and with a poisoned one."""
    import numpy as np

    from edgegen.generate.pictures import NEAT, draw_batch
    from edgegen.tune import local
    from edgegen.tune.federation.in_process import run_in_process
    from edgegen.tune.federation.learners import AbstractLearner, Arrays, Fitted
    from edgegen.tune.federation.settings import parse
    from edgegen.tune.pictures import Workshop
    from edgegen.tune.running import describe
    from edgegen.tune.sites import held_out_novel

    class Poisoned(AbstractLearner):
        """Trains as it should, and sends something else."""

        def __init__(self, honest: AbstractLearner) -> None:
            self._honest = honest

        def fit(self, arrays: Arrays, *, round: int, steps: int) -> Fitted:  # noqa: A002
            fitted = self._honest.fit(arrays, round=round, steps=steps)
            turned = {name: arrays[name] + FACTOR * (array - arrays[name]) for name, array in fitted.arrays.items()}
            return Fitted(
                {name: array.astype(np.float32) for name, array in turned.items()}, fitted.weight, fitted.metrics
            )

        def evaluate(self, arrays: Arrays) -> dict[str, float]:
            return self._honest.evaluate(arrays)

    rules = {"rounds": ROUNDS, "steps": STEPS}
    run = describe({"spread": {"sites": SITES, "pictures": PICTURES, "alpha": 100.0}}, rules)
    workshop = Workshop(run.task)
    scenes = held_out_novel(25, 7)
    unseen = local.see(
        workshop.base, draw_batch(scenes, np.random.default_rng(7), style=NEAT), [one.caption() for one in scenes]
    )

    def learner(site: int, poisoned: bool) -> AbstractLearner:
        honest = workshop.learner(site)
        return Poisoned(honest) if poisoned and site == POISONED else honest

    def loss(aggregator: str, poisoned: bool) -> float:
        progress(f"poison: {aggregator}, {'one poisoned' if poisoned else 'all honest'}")
        settings = parse({**rules, "aggregator": aggregator})
        done = run_in_process(lambda site: learner(site, poisoned), SITES, settings, workshop.start)
        workshop.parts.put(workshop.base, done.arrays)
        return local.mean_loss(workshop.base, unseen)

    workshop.parts.put(workshop.base, workshop.start)
    before, honest = local.mean_loss(workshop.base, unseen), loss("fedavg", False)
    said = f"1 of {SITES} poisoned ({FACTOR:g} x its update)"
    bars = [
        Bar.report("held-out loss of the base", before),
        Bar.report(f"held-out loss after {ROUNDS} honest rounds", honest),
        Bar.at_least(
            f"{said}: loss of plain averaging over the honest one", loss("fedavg", True) / honest, BROKEN, unit="x"
        ),
    ]
    for name in ROBUST:
        found = loss(name, True)
        bars.append(Bar.at_most(f"{said}: loss of {name} over the honest one", found / honest, NEAR, unit="x"))
        bars.append(
            Bar.report(
                f"{said}: part of the honest fall of the loss that {name} keeps", (before - found) / (before - honest)
            )
        )
    return bars
