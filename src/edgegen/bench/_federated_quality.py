"""What sites gain together: judged quality after federated, central and local fine-tuning of the same number of steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edgegen.core.result import Bar

if TYPE_CHECKING:
    from edgegen.tune.comparing import Outcome
    from edgegen.tune.judging import Exam, Marks
    from edgegen.tune.pictures import Workshop

SEEDS = (0, 1, 2, 3)
SITES, PICTURES, ROUNDS, STEPS = 3, 300, 6, 40
ALPHAS = (100.0, 0.1)  # beside 1, which the goals are about; one seed each
PER_OBJECT, PER_KNOWN = 25, 12
GOAL, MOST_BYTES = 0.95, 1 / 100
Tell = Callable[[str], None]

# Other ways to exchange, one seed each: name -> settings.
WAYS: dict[str, dict] = {
    "fedit": {"mode": "fedit"},
    "fedex": {"mode": "fedex"},
    "full": {"mode": "full"},
    "decoder": {"mode": "decoder"},
    "split": {"mode": "split"},
    "ffa, 8 bits": {"mode": "ffa", "bits": 8},
    "ffa, secure": {"mode": "ffa", "secure": {"max_weight": float(PICTURES)}},
}
PRIVATE_EPSILON = 8.0


class Trio(NamedTuple):
    """One seed: the base, and three ways to learn with equally many steps in all."""

    before: Marks
    together: Outcome
    central: Outcome
    alone: list[Outcome]
    workshop: Workshop


def quality_bars(progress: Tell) -> list[Bar]:
    """Compare at alpha 1 over the seeds, then the other ways and the other alphas with one seed each."""
    trios = [trio(seed, 1.0, progress) for seed in SEEDS]
    bars = [*_gains(trios), *_lacks(trios), *_bytes(trios[0])]
    for name, settings in WAYS.items():
        bars += _way(name, settings, trios[0], progress)
    bars += _private(progress)
    for alpha in ALPHAS:
        one = trio(0, alpha, progress)
        label = f"alpha {alpha:g}: gain of ffa over that in one place"
        bars.append(Bar.report(label, one.together.gain(one.before) / one.central.gain(one.before), unit="x"))
        bars.append(_lack(one, f"alpha {alpha:g}: "))
    return bars


def trio(seed: int, alpha: float, progress: Tell) -> Trio:
    """Run the three ways on the sites of one seed."""
    from edgegen.tune import comparing

    settings = _settings({"mode": "ffa", "seed": seed})
    workshop, exam = _open(seed, alpha, {"mode": "ffa"})
    before = comparing.untouched(workshop, exam)
    label = f"alpha {alpha:g}, seed {seed}"

    def tell(what: str) -> None:
        progress(f"{label}: {what}")

    together = comparing.federated(workshop, settings, exam, name="ffa", tell=tell)
    central = comparing.in_one_place(workshop, SITES * ROUNDS * STEPS, exam, tell=tell)
    alone = [comparing.alone(workshop, site, ROUNDS * STEPS, exam, tell=tell) for site in range(SITES)]
    return Trio(before, together, central, alone, workshop)


def _gains(trios: list[Trio]) -> list[Bar]:
    together = np.array([one.together.gain(one.before) for one in trios])
    central = np.array([one.central.gain(one.before) for one in trios])
    known = [np.array([getattr(one, way).marks.known for one in trios]) for way in ("together", "central")]
    ratio, low, high = _ratio(together, central)
    return [
        Bar.of_mean("judged quality of novel objects before", np.array([one.before.novel for one in trios])),
        Bar.of_mean("gain in one place, all pictures moved", central),
        Bar.of_mean("gain of ffa, federated", together),
        Bar.at_least("gain of ffa over that in one place", ratio, GOAL, unit="x", n=len(trios), low=low, high=high),
        Bar.of_mean("gain of a site alone, mean", np.array([_mean_alone(one) for one in trios])),
        Bar.of_mean("quality of known objects before", np.array([one.before.known for one in trios])),
        Bar.of_mean("quality of known objects after ffa", known[0]),
        Bar.of_mean("quality of known objects after training in one place", known[1]),
    ]


def _mean_alone(one: Trio) -> float:
    return float(np.mean([outcome.gain(one.before) for outcome in one.alone]))


def _lacks(trios: list[Trio]) -> list[Bar]:
    """Every site is asked for the object of which it has least."""
    more = np.array([value for one in trios for value in _more_of_lacked(one)])
    return [Bar.of_mean("what a site lacks: quality of ffa less that of the site alone", more, least=0.0)]


def _lack(one: Trio, label: str) -> Bar:
    return Bar.of_mean(f"{label}what a site lacks: quality of ffa less that of the site alone", _more_of_lacked(one))


def _more_of_lacked(one: Trio) -> np.ndarray:
    from edgegen.tune.comparing import lacking

    pairs = [
        (lacking(one.together, one.workshop, at), lacking(own, one.workshop, at)) for at, own in enumerate(one.alone)
    ]
    return np.array([together - own for together, own in pairs])


def _bytes(one: Trio) -> list[Bar]:
    from edgegen.tune.radio.sizes import EVERYWHERE, declared, exchange, lora

    rank, bars = one.workshop.task.lora.rank, []
    for model in ("sd-1.5", "sdxl"):
        sizes = declared(model)
        full = exchange(sizes, "full").up_bits(32)
        ratio = exchange(sizes, "ffa", rank=rank).up_bits(32) / full
        bars.append(Bar.at_most(f"{model}-size: bytes of ffa, rank {rank} on attention, over full", ratio, MOST_BYTES))
        wide = lora(sizes.shapes, rank, EVERYWHERE)[1] / sizes.parameters
        bars.append(Bar.at_most(f"{model}-size: the same, adapters on every layer", wide, MOST_BYTES))
    whole = 4 * sum(
        weight.numel() for name, weight in one.workshop.base.network.named_parameters() if "lora" not in name
    )
    ratio = one.together.payload_bytes / whole
    bars.append(Bar.report("shapes-s as it is: bytes of ffa over full, which nobody need save", ratio))
    pictures = PICTURES * 64 * 64 * 3
    bars.append(
        Bar.report(
            "shapes-s as it is: bytes of all uploads over raw pictures", ROUNDS * one.together.payload_bytes / pictures
        )
    )
    return bars


def _way(name: str, settings: dict, one: Trio, progress: Tell) -> list[Bar]:
    from edgegen.tune import comparing

    workshop, exam = _open(0, 1.0, settings)
    outcome = comparing.federated(workshop, _settings(settings), exam, name=name, tell=progress)
    gain = outcome.gain(one.before)
    return [
        Bar.report(f"{name}: gain over that in one place, seed 0", gain / one.central.gain(one.before), unit="x"),
        Bar.report(f"{name}: quality of known objects, seed 0", outcome.marks.known),
        Bar.report(f"{name}: payload of a site's upload", outcome.payload_bytes, unit="B"),
    ]


def _private(progress: Tell) -> list[Bar]:
    """Privacy of examples: more pictures to a site, because noise is for all of them alike."""
    from edgegen.tune import comparing
    from edgegen.tune.judging import Exam
    from edgegen.tune.pictures import Workshop
    from edgegen.tune.running import describe

    run = describe(
        {"spread": {"sites": SITES, "pictures": 4 * PICTURES}, "local": {"batch": 64}},
        {"mode": "ffa", "rounds": ROUNDS, "steps": STEPS},
        epsilon=PRIVATE_EPSILON,
    )
    workshop, exam = Workshop(run.task), Exam.of(PER_OBJECT, PER_KNOWN)
    before = comparing.untouched(workshop, exam)
    outcome = comparing.federated(workshop, run.settings, exam, name=f"epsilon {PRIVATE_EPSILON:g}", tell=progress)
    label = f"ffa, epsilon {PRIVATE_EPSILON:g} for every picture, {4 * PICTURES} pictures to a site"
    return [
        Bar.report(f"{label}: gain", outcome.gain(before)),
        Bar.report(f"{label}: quality of known objects", outcome.marks.known),
    ]


def _open(seed: int, alpha: float, settings: dict) -> tuple[Workshop, Exam]:
    from edgegen.tune.judging import Exam
    from edgegen.tune.pictures import Workshop
    from edgegen.tune.running import describe

    spread = {"sites": SITES, "pictures": PICTURES, "alpha": alpha, "seed": seed}
    run = describe({"spread": spread, "local": {"seed": seed}}, {"rounds": ROUNDS, "steps": STEPS, **settings})
    return Workshop(run.task), Exam.of(PER_OBJECT, PER_KNOWN)


def _settings(values: dict):
    from edgegen.tune.federation.settings import parse

    return parse({"rounds": ROUNDS, "steps": STEPS, **values})


def _ratio(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float, float]:
    """Return the ratio of two means over the same seeds, with a 95 % interval by Fieller's first-order form."""
    from edgegen.core.result import student

    ratio = float(ours.mean() / theirs.mean())
    spread = float(np.std(ours - ratio * theirs, ddof=1) / np.sqrt(len(ours)) / theirs.mean())
    half = student(len(ours) - 1) * spread
    return ratio, ratio - half, ratio + half
