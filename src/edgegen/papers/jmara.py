"""Joint Model Assignment and Resource Allocation for Cost-Effective Mobile Generative Services.

Gao, Yang, Kong, Lyu and Zhang, 2024, arXiv:2409.09072.

From the paper (abstract, and two summaries by others; the body could not be read): prompts carry a category (basic, detail,
imagination, complex); the CLIPScore of a category on a model is Gaussian, and these distributions with thresholds assign
models; simulated annealing then sets denoising steps and shares of one compute budget for the requests that each model
received; utility is quality minus latency; quality up to +4.7 % and delay up to -39.1 % against its benchmarks.

Derived by us: the best shares for given steps are in closed form (`delay_s`), so annealing need not search them.

Guessed: all equations and parameters; scores are synthetic. Reported percentages are therefore not comparable with ours.

Deviations: 1. Both readings of "probabilistic assignment" are here: a threshold, and a random draw. 2. Categories are known
without error unless a confusion matrix is given (`posterior_scores`).
"""

import dataclasses
import itertools
from collections.abc import Callable
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from edgegen.core.checks import positive
from edgegen.core.citation import Citation
from edgegen.core.errors import InputError
from edgegen.core.result import Bar

CITATION = Citation(
    key="gao2024jmara",
    authors="Gao, Shuangwei and Yang, Peng and Kong, Yuxin and Lyu, Feng and Zhang, Ning",
    title="Joint Model Assignment and Resource Allocation for Cost-Effective Mobile Generative Services",
    year=2024,
    identifier="arXiv:2409.09072",
)
_BOUNDARY = 1e-12  # a probability that equals the confidence counts as reaching it
_PRIOR_SAMPLES = 5


@dataclasses.dataclass(frozen=True)
class Site:
    """One epoch of an edge site: C categories of prompts, J models that share one compute budget."""

    prompts: np.ndarray  # int[C], how many of each category
    score_mean: np.ndarray  # float[C, J], at full steps, in [0, 1]
    score_sd: np.ndarray  # float[C, J]
    curve_scale: np.ndarray  # float[J], of g(s) = 1 - scale s^-power, the share of the score reached after s steps
    curve_power: np.ndarray  # float[J]
    step_flop: np.ndarray  # float[J], work of one step of one prompt
    compute_flops: float
    steps: np.ndarray  # int[S], ascending
    quality_weight: float  # in [0, 1]; the rest is the weight of the delay
    delay_scale_s: float

    def __post_init__(self):
        if not 0 <= self.quality_weight <= 1:
            raise InputError(f"quality_weight must be in [0, 1], got {self.quality_weight}", param="quality_weight")
        positive(self, "compute_flops", "delay_scale_s", "step_flop", "score_sd", "steps")
        if self.prompts.min() < 0 or self.prompts.sum() < 1:
            raise InputError(
                f"prompts must count at least one prompt and none negative, got {self.prompts}", param="prompts"
            )

    @property
    def models(self) -> int:
        """The number of models, J."""
        return len(self.step_flop)

    def reached(self, steps: np.ndarray) -> np.ndarray:
        """The share of the full score after steps int[..., J], float[..., J]."""
        return 1 - self.curve_scale * np.asarray(steps, dtype=float) ** -self.curve_power


class Answer(NamedTuple):
    """Counts int[C, J], steps int[J], shares of the compute budget float[J] and the utility."""

    counts: np.ndarray
    steps: np.ndarray
    shares: np.ndarray
    utility: float


def default_site() -> Site:
    """The synthetic site of the golden values: a small, a middle and a large model."""
    clip = np.array([[30.5, 31.5, 32.0], [29.0, 31.0, 32.2], [28.0, 30.5, 32.5], [26.5, 29.5, 32.0]])
    return Site(
        prompts=np.array([6, 5, 5, 4]),
        score_mean=(clip - 20) / 15,
        score_sd=np.tile(np.array([2.5, 2.3, 2.2]) / 15, (4, 1)),
        curve_scale=np.array([0.6, 0.8, 0.9]),
        curve_power=np.array([1.2, 1.1, 1.0]),
        step_flop=np.array([0.20, 0.68, 2.6]) * 1e12,
        compute_flops=30e12,
        steps=np.arange(4, 41, 2),
        quality_weight=0.7,
        delay_scale_s=60.0,
    )


def best_shares(site: Site, load: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Shares float[..., J] of the compute budget with the least sum of delays, for load N_j: f_j ~ N_j sqrt(s_j w_j)."""
    pull = load * np.sqrt(steps * site.step_flop)
    return pull / pull.sum(axis=-1, keepdims=True)


def delay_s(site: Site, load: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """The least sum of the delays of all prompts, float[...]: (sum_j N_j sqrt(s_j w_j))^2 / F, at the best shares."""
    return (load * np.sqrt(steps * site.step_flop)).sum(axis=-1) ** 2 / site.compute_flops


def delay_with(site: Site, load: np.ndarray, steps: np.ndarray, shares: np.ndarray) -> float:
    """The sum of delays at given shares: the prompts of a model run as one batch and finish together."""
    used = load > 0
    batch_s = load[used] * steps[used] * site.step_flop[used] / (shares[used] * site.compute_flops)
    return float((load[used] * batch_s).sum())


def utility(
    site: Site, counts: np.ndarray, steps: np.ndarray, total_delay_s: np.ndarray | float | None = None
) -> np.ndarray:
    """Mean weighted quality minus mean weighted delay, float[...], for counts int[C, J] and steps int[..., J]."""
    quality = ((counts * site.score_mean).sum(axis=0) * site.reached(steps)).sum(axis=-1)
    delay = delay_s(site, counts.sum(axis=0), steps) if total_delay_s is None else total_delay_s
    worth = site.quality_weight * quality - (1 - site.quality_weight) * delay / site.delay_scale_s
    return worth / site.prompts.sum()


def counts_of(site: Site, assignment: np.ndarray) -> np.ndarray:
    """Counts int[C, J] when each category goes to one model, int[C]."""
    return site.prompts[:, None] * (np.arange(site.models) == np.asarray(assignment)[:, None])


def reach_probability(site: Site, target: float) -> np.ndarray:
    """The probability float[C, J] that a score reaches a target."""
    normal = NormalDist()
    return 1 - np.vectorize(normal.cdf)((target - site.score_mean) / site.score_sd)


def threshold_assignment(site: Site, *, target: float = 0.70, confidence: float = 0.5) -> np.ndarray:
    """Each category's cheapest model that reaches the target with the confidence, or its likeliest one; int[C]."""
    likely = reach_probability(site, target)
    order = np.argsort(site.step_flop, kind="stable")
    enough = likely[:, order] >= confidence - _BOUNDARY
    return np.where(enough.any(axis=1), order[enough.argmax(axis=1)], likely.argmax(axis=1))


def random_assignment(
    site: Site, *, target: float = 0.70, temperature: float = 0.2, work_price: float = 0.0
) -> np.ndarray:
    """The probabilities float[C, J] of a random draw: likelier models more often, work priced per TFLOP of a step."""
    score = (reach_probability(site, target) - work_price * site.step_flop / 1e12) / temperature
    weight = np.exp(score - score.max(axis=1, keepdims=True))
    return weight / weight.sum(axis=1, keepdims=True)


def affordable_assignment(site: Site, steps: np.ndarray, *, longest_s: float, target: float = 0.70) -> np.ndarray:
    """The random draw at the lowest price of work at which the expected work fits into a time; float[C, J].

    **Raises** `InputError` when not even the cheapest models fit.
    """

    def work_s(price: float) -> float:
        load = (site.prompts[:, None] * random_assignment(site, target=target, work_price=price)).sum(axis=0)
        return float((load * steps * site.step_flop).sum() / site.compute_flops)

    low, high = 0.0, 1e3
    if work_s(high) > longest_s:
        raise InputError(f"work takes {work_s(high):.3g} s even on the cheapest models, more than {longest_s:g} s")
    high = low if work_s(low) <= longest_s else high
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if work_s(middle) > longest_s else (low, middle)
    return random_assignment(site, target=target, work_price=high)


def estimated_scores(logged: list[list[np.ndarray]], prior_mean: np.ndarray, prior_sd: np.ndarray) -> tuple:
    """Mean and standard deviation float[C, J] each of logged scores, with a prior worth five samples."""
    mean, sd = np.array(prior_mean, dtype=float), np.array(prior_sd, dtype=float)
    for c, j in np.ndindex(mean.shape):
        seen = np.asarray(logged[c][j], dtype=float)
        total = len(seen) + _PRIOR_SAMPLES
        centre = (seen.sum() + _PRIOR_SAMPLES * prior_mean[c, j]) / total
        spread = ((seen - centre) ** 2).sum() + _PRIOR_SAMPLES * (
            prior_sd[c, j] ** 2 + (prior_mean[c, j] - centre) ** 2
        )
        mean[c, j], sd[c, j] = centre, np.sqrt(spread / total)
    return mean, sd


def posterior_scores(site: Site, confusion: np.ndarray) -> np.ndarray:
    """Expected scores float[C, J] per *label*, when labels err: rows of `confusion` are true categories and sum to 1."""
    joint = site.prompts[:, None] * confusion
    return (joint / joint.sum(axis=0, keepdims=True)).T @ site.score_mean


def every_step_vector(site: Site) -> np.ndarray:
    """All combinations of steps, int[S^J, J]."""
    return np.array(list(itertools.product(site.steps, repeat=site.models)))


def best_steps(site: Site, counts: np.ndarray) -> Answer:
    """The best steps for given counts, by looking at all of them."""
    every = every_step_vector(site)
    return _answer(site, counts, every[utility(site, counts, every).argmax()])


def anneal(site: Site, counts: np.ndarray, rng: np.random.Generator, *, proposals: int = 400) -> Answer:
    """Simulated annealing on steps, as the source does; shares are in closed form. Start at 20, temperature 0.02, x 0.98."""
    middle = site.steps[np.abs(site.steps - 20).argmin()]
    steps = np.full(site.models, middle)
    value = best = float(utility(site, counts, steps))
    kept, temperature = steps, 0.02
    for _ in range(proposals):
        proposed = steps.copy()
        model = int(rng.integers(site.models))
        proposed[model] = np.clip(proposed[model] + rng.choice([-4, -2, 2, 4]), site.steps[0], site.steps[-1])
        proposed[model] = site.steps[np.abs(site.steps - proposed[model]).argmin()]
        after = float(utility(site, counts, proposed))
        if after >= value or rng.random() < np.exp((after - value) / temperature):
            steps, value = proposed, after
            if value > best:
                kept, best = steps, value
        temperature *= 0.98
    return _answer(site, counts, kept)


def joint_optimum(site: Site) -> Answer:
    """The best model per category with its best steps, by enumeration; then single prompts are moved while that helps."""
    assignments = itertools.product(range(site.models), repeat=len(site.prompts))
    best = max((best_steps(site, counts_of(site, np.array(each))) for each in assignments), key=lambda a: a.utility)
    while True:
        moved = max((best_steps(site, counts) for counts in _moves(site, best.counts)), key=lambda a: a.utility)
        if moved.utility <= best.utility + 1e-12:
            return best
        best = moved


def baselines(site: Site, rng: np.random.Generator) -> dict[str, Answer]:
    """What people do instead."""
    categories, models = len(site.prompts), site.models
    small, large = int(site.step_flop.argmin()), int(site.step_flop.argmax())
    threshold = counts_of(site, threshold_assignment(site))
    drawn = np.array([rng.multinomial(k, np.full(models, 1 / models)) for k in site.prompts])
    assigned = {"all small": np.full(categories, small), "all large": np.full(categories, large)}
    assigned["best mean"] = site.score_mean.argmax(axis=1)
    found = {name: best_steps(site, counts_of(site, models_)) for name, models_ in assigned.items()}
    found["random model"] = best_steps(site, drawn)
    for steps in (10, 20, 40):
        found[f"fixed {steps} steps, equal shares"] = _shared(site, threshold, np.full(models, steps), equal=True)
    found["threshold, proportional shares"] = _shared(site, threshold, np.full(models, 20), equal=False)
    return found


def claims(progress: Callable[[str], None], *, seed: int = 11) -> list[Bar]:
    """Better quality at less delay than benchmarks (abstract): here, more utility; and annealing against enumeration."""
    site, rng = default_site(), np.random.default_rng(seed)
    progress("jmara: joint optimum and benchmarks")
    ours = joint_optimum(site)
    staged = anneal(site, counts_of(site, threshold_assignment(site)), rng)
    rivals = baselines(site, rng)
    counts = ours.counts
    progress("jmara: 100 runs of annealing")
    runs = np.array([anneal(site, counts, np.random.default_rng([seed, run])).utility for run in range(100)])
    best_rival = max(answer.utility for answer in rivals.values())
    return [
        Bar.at_least("jmara: utility of the joint optimum over the best benchmark", ours.utility / best_rival, 1.0),
        Bar.report("jmara: utility of threshold and annealing over the joint optimum", staged.utility / ours.utility),
        Bar.at_least(
            "jmara: annealing runs within 0.5 % of the enumerated steps",
            float((runs >= 0.995 * ours.utility).mean()),
            0.95,
            n=100,
        ),
    ]


def _answer(site: Site, counts: np.ndarray, steps: np.ndarray) -> Answer:
    shares = best_shares(site, counts.sum(axis=0), steps)
    return Answer(counts, steps, shares, float(utility(site, counts, steps)))


def _shared(site: Site, counts: np.ndarray, steps: np.ndarray, *, equal: bool) -> Answer:
    """An answer with equal shares of the models in use, or shares in proportion to their work."""
    load = counts.sum(axis=0)
    shares = np.where(load > 0, 1.0, 0.0) if equal else load * steps * site.step_flop
    shares = shares / shares.sum()
    return Answer(counts, steps, shares, float(utility(site, counts, steps, delay_with(site, load, steps, shares))))


def _moves(site: Site, counts: np.ndarray) -> list[np.ndarray]:
    """Every count matrix in which one prompt went to another model."""
    unit = np.eye(counts.size, dtype=int).reshape(counts.size, *counts.shape)
    places = np.arange(counts.size).reshape(counts.shape)
    return [
        counts - unit[places[c, source]] + unit[places[c, target]]
        for c, source, target in np.ndindex(len(site.prompts), site.models, site.models)
        if source != target and counts[c, source]
    ]
