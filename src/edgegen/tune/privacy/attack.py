"""Membership inference: what a model gives away about its training examples, as somebody with the model can measure it.

A network fits what it was trained on better than what it was not. The attacker scores every example by its loss at a few
timesteps (Yeom et al. 2018, arXiv:1709.01604; for diffusion models Carlini et al. 2023, arXiv:2301.13188, and Matsumoto et al. 2023,
arXiv:2302.03262) and calls those with the lowest losses members. The calibrated attack is stronger: it knows the base model,
too, and scores by how much the loss fell below what it lets expect, which takes away how hard an example is for everybody.

An area under the curve (AUC) of 0.5 is guessing, 1 is certainty. An attack that finds nothing proves nothing: it is a lower
bound on what leaks, as epsilon is an upper one. An average may hide a few examples that are found with certainty, so the
record says how many are (Carlini et al. 2022, arXiv:2112.03570).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgegen.core.errors import InputError
from edgegen.generate.schedules import TRAIN_TIMESTEPS

# Where members and others differ most: neither nearly clean nor nearly all noise.
TIMESTEPS = tuple(round(share * TRAIN_TIMESTEPS) for share in (0.1, 0.3, 0.5))
FALSE_ALARMS = 0.01


@dataclass(frozen=True)
class Leakage:
    """How well members can be told from others."""

    auc: float  # probability that a member scores higher than another; 0.5 is guessing
    low: float  # 95 % interval of the AUC over the choice of examples, by the bootstrap
    high: float
    advantage: float  # largest difference of hits and false alarms, in [0, 1]
    certain: float  # share of the members found while at most 1 % of the others are called members
    members: int
    others: int


def by_loss(losses: np.ndarray) -> np.ndarray:
    """Score examples float64[B] by their losses float[B, T]: high is a likely member.

    Losses at different timesteps differ in size, so each is brought to one scale before they are averaged.
    """
    losses = _table(losses)
    return -((losses - losses.mean(0)) / np.maximum(losses.std(0), 1e-12)).mean(1)


def by_fall(losses: np.ndarray, base_losses: np.ndarray) -> np.ndarray:
    """Score all examples float64[B] by their losses float[B, T], against what the base's losses let expect.

    Tuning helps hard examples more than easy ones, whether it saw them or not. So at each timestep a line is laid through the
    logarithms of both losses of all examples together, and the score is how far below it an example lies.
    """
    losses, base_losses = _table(losses), _table(base_losses)
    if losses.shape != base_losses.shape:
        raise InputError(f"losses and the base's must have one shape, got {losses.shape} and {base_losses.shape}")
    now, before = (np.log(np.maximum(table, 1e-12)) for table in (losses, base_losses))
    now, before = now - now.mean(0), before - before.mean(0)
    slope = np.sum(now * before, 0) / np.maximum(np.sum(before * before, 0), 1e-12)
    return (slope * before - now).mean(1)


def loss_attack(member_losses: np.ndarray, other_losses: np.ndarray, *, seed: int = 0) -> Leakage:
    """Attack with the losses float[B, T] of the model alone."""
    scores = by_loss(np.concatenate([_table(member_losses), _table(other_losses)]))
    return measure(scores[: len(member_losses)], scores[len(member_losses) :], seed=seed)


def calibrated_attack(
    member_losses: np.ndarray,
    other_losses: np.ndarray,
    *,
    member_base: np.ndarray,
    other_base: np.ndarray,
    seed: int = 0,
) -> Leakage:
    """Attack with the losses float[B, T] of the model and of the base that it was tuned from."""
    losses = np.concatenate([_table(member_losses), _table(other_losses)])
    scores = by_fall(losses, np.concatenate([_table(member_base), _table(other_base)]))
    return measure(scores[: len(member_losses)], scores[len(member_losses) :], seed=seed)


def measure(members: np.ndarray, others: np.ndarray, *, draws: int = 2000, seed: int = 0) -> Leakage:
    """Compare scores of members float[M] with those of others float[N], in which high means member.

    **Raises** `InputError` for fewer than two of either, or scores that are not finite.
    """
    return over_runs([(members, others)], draws=draws, seed=seed)


def over_runs(runs: Sequence[tuple[np.ndarray, np.ndarray]], *, draws: int = 2000, seed: int = 0) -> Leakage:
    """Average the attack over several trainings, each with its own (members' scores, others' scores).

    Scores are compared within a run only. The interval holds for these trainings and resamples the examples of each.
    """
    rng = np.random.default_rng(seed)
    found = [_one_run(np.asarray(left, np.float64), np.asarray(right, np.float64), draws, rng) for left, right in runs]
    low, high = np.quantile(np.mean([samples for _, _, _, samples in found], axis=0), [0.025, 0.975])
    auc, advantage, certain = np.mean([figures[:3] for figures in found], axis=0)
    return Leakage(
        auc=float(auc),
        low=float(low),
        high=float(high),
        advantage=float(advantage),
        certain=float(certain),
        members=sum(len(left) for left, _ in runs),
        others=sum(len(right) for _, right in runs),
    )


def _one_run(
    members: np.ndarray, others: np.ndarray, draws: int, rng: np.random.Generator
) -> tuple[float, float, float, np.ndarray]:
    """AUC, advantage, certain hits, and the AUC of each bootstrap sample, float64[draws]."""
    if min(len(members), len(others)) < 2 or not (np.isfinite(members).all() and np.isfinite(others).all()):
        raise InputError(f"an attack needs two or more finite scores of each, got {len(members)} and {len(others)}")
    wins = (members[:, None] > others) + 0.5 * (members[:, None] == others)  # the AUC is their mean (Mann and Whitney)
    # A bootstrap sample is how often each example is in it.
    left = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), draws)
    right = rng.multinomial(len(others), np.full(len(others), 1 / len(others)), draws)
    samples = np.sum(left @ wins * right, 1) / wins.size
    hits, alarms = curve(members, others)
    return float(wins.mean()), float((hits - alarms).max()), float(hits[alarms <= FALSE_ALARMS].max()), samples


def curve(members: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give (hits, false alarms) float64[K] of every threshold, from calling nobody a member to calling everybody one."""
    thresholds = np.concatenate([[math.inf], np.unique(np.concatenate([members, others]))[::-1]])
    hits = 1 - np.searchsorted(np.sort(members), thresholds) / len(members)
    alarms = 1 - np.searchsorted(np.sort(others), thresholds) / len(others)
    return hits, alarms


def _table(losses: np.ndarray) -> np.ndarray:
    table = np.asarray(losses, np.float64)
    return table[:, None] if table.ndim == 1 else table
