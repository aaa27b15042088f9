"""Attack what a run learnt: can the pictures of a site be told from pictures that it might have had?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from edgegen.tune import local
from edgegen.tune.adapters import Arrays
from edgegen.tune.base import Base
from edgegen.tune.local import Examples
from edgegen.tune.pictures import Workshop
from edgegen.tune.privacy.attack import TIMESTEPS, Leakage, calibrated_attack, loss_attack
from edgegen.tune.sites import make_stranger

MOST = 200  # pictures of a site that are attacked, and as many of strangers
DRAWS = 4  # of noise, for each picture at each timestep
CHUNK = 256


@dataclass(frozen=True)
class Attacked:
    """What an attacker finds out about one site."""

    site: str
    by_loss: Leakage  # who has the tuned model
    calibrated: Leakage  # who has its base, too


def attack_run(
    workshop: Workshop, arrays: Arrays, *, most: int = MOST, draws: int = DRAWS, seed: int = 0
) -> list[Attacked]:
    """Attack every site's pictures in a network that wears these arrays (see `privacy.attack` for the attacks)."""
    found = []
    for number in range(workshop.task.spread.sites):
        site, members = workshop.site(number), workshop.examples([number])
        count = min(most, len(members))
        stranger = make_stranger(site, workshop.task.spread, number, count)
        others = local.see(workshop.base, stranger.pictures, stranger.captions)
        both = local.together([members.pick(np.arange(count)), others])
        tables = []
        for worn in (arrays, workshop.start):
            workshop.parts.put(workshop.base, worn)
            tables.append(losses_at(workshop.base, both, draws=draws, seed=seed))
        (now, then), (first, second) = ((table[:count], table[count:]) for table in tables)
        calibrated = calibrated_attack(now, then, member_base=first, other_base=second, seed=seed)
        found.append(Attacked(site.name, loss_attack(now, then, seed=seed), calibrated))
    return found


@torch.no_grad()
def losses_at(base: Base, examples: Examples, *, draws: int, seed: int) -> np.ndarray:
    """Return the losses float64[n, timesteps] of examples, averaged over noise that depends on the seed alone."""
    out = np.zeros((len(examples), len(TIMESTEPS)))
    nobody = np.zeros(len(examples), bool)
    for column, timestep in enumerate(TIMESTEPS):
        for draw in range(draws):
            rng = np.random.default_rng([seed, timestep, draw])
            noise = rng.standard_normal(tuple(examples.latents.shape), np.float32)
            for at in range(0, len(examples), CHUNK):
                rows = np.arange(at, min(at + CHUNK, len(examples)))
                some = examples.pick(rows)
                text, pooled = some.silenced(base, nobody[rows])
                positions = np.full(len(rows), timestep + 1.0)
                out[rows, column] += (
                    base.losses(some.latents, text, pooled, positions, torch.from_numpy(noise[rows])).numpy() / draws
                )
    return out
