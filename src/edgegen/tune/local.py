"""One site's own work: some steps of the diffusion loss on its pictures, from what the server sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from edgegen.core.errors import InputError
from edgegen.tune.base import Base
from edgegen.tune.privacy.private_steps import PrivateTrainer
from edgegen.tune.privacy.promise import Privacy

PRUDENT_NORM = 1.0


@dataclass(frozen=True)
class Local:
    """How a site trains."""

    batch: int = 32
    rate: float = 3e-3  # of Adam
    word_rate: float = 1e-2  # of the vectors of new words
    proximal: float = 0.0  # mu of FedProx (Li et al., arXiv 1812.06127): holds a site near what it was sent
    dropout: float = 0.1  # share of captions that are replaced by nothing, so that guidance goes on to work
    draws: int = 2  # losses of one picture in a private step
    seed: int = 0

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise InputError(f"batch must be >= 1, got {self.batch}", param="batch")
        if not self.rate > 0:
            raise InputError(f"rate must be above 0, got {self.rate}", param="rate")


@dataclass(frozen=True)
class Examples:
    """Pictures and captions as the frozen parts of the base see them."""

    latents: torch.Tensor  # float32[n, C, H, W]
    text: torch.Tensor  # float32[n, T, D]
    pooled: torch.Tensor  # float32[n, P]
    nothing: tuple[torch.Tensor, torch.Tensor]  # text [1, T, D] and pooled [1, P] of the empty caption
    # Where new words are learnt, the words themselves, int64[n, T], and those of the empty caption: their states change.
    tokens: torch.Tensor | None = None
    no_tokens: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.latents)

    def pick(self, rows: np.ndarray) -> Examples:
        """Return some of them."""
        at = torch.from_numpy(np.asarray(rows, np.int64))
        tokens = None if self.tokens is None else self.tokens[at]
        return replace(self, latents=self.latents[at], text=self.text[at], pooled=self.pooled[at], tokens=tokens)

    def silenced(self, base: Base, gone: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Return text and pooled states, those of some rows (bool[n]) replaced by the empty caption's."""
        mask = torch.from_numpy(gone)
        pooled = torch.where(mask[:, None], self.nothing[1], self.pooled)
        if self.tokens is None or self.no_tokens is None:
            return torch.where(mask[:, None, None], self.nothing[0], self.text), pooled
        return base.text_of(torch.where(mask[:, None], self.no_tokens, self.tokens)), pooled


def see(base: Base, pictures: np.ndarray, captions: Sequence[str]) -> Examples:
    """Let the base's frozen parts look at pictures uint8[n, side, side, 3] and their captions, once for all rounds."""
    nothing = base.read([""])
    return Examples(
        base.compress(pictures), *base.read(captions), nothing, base.tokens(captions), base.tokens([""])
    )  # fmt: skip


def together(parts: Sequence[Examples]) -> Examples:
    """Return the examples of several sites in one."""
    names = ("latents", "text", "pooled") if parts[0].tokens is None else ("latents", "text", "pooled", "tokens")
    return replace(parts[0], **{name: torch.cat([getattr(part, name) for part in parts]) for name in names})


def train(base: Base, examples: Examples, local: Local, *, steps: int, key: Sequence[int]) -> float:
    """Train those weights of the base's network that may be trained, and return the mean loss of the last quarter.

    The order of the pictures, their noise and their positions follow from `local.seed` and `key` alone.
    """
    rng = np.random.default_rng([local.seed, *key])
    weights = base.trained()
    sent = [weight.detach().clone() for weight in weights]
    words = set() if base.vocabulary is None else set(base.vocabulary.parameters())
    groups = [{"params": [weight], "lr": local.word_rate if weight in words else local.rate} for weight in weights]
    optimiser = torch.optim.Adam(groups)
    base.network.train()
    losses = []
    for _ in range(steps):
        loss = batch_loss(base, examples, local, rng)
        if local.proximal:
            away = [(weight - old).square().sum() for weight, old in zip(weights, sent, strict=True)]
            loss = loss + 0.5 * local.proximal * torch.stack(away).sum()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, PRUDENT_NORM)
        optimiser.step()
        losses.append(float(loss.detach()))
    base.network.eval()
    return float(np.mean(losses[-max(1, steps // 4) :])) if losses else float("nan")


def train_privately(base: Base, examples: Examples, local: Local, privacy: Privacy, *, steps: int) -> None:
    """Train by private steps (see `private_steps`); the noise is the operating system's and cannot be repeated."""
    generator = np.random.default_rng()

    def loss_of(latents: torch.Tensor, text: torch.Tensor, pooled: torch.Tensor) -> torch.Tensor:
        rows = Examples(latents, text, pooled, examples.nothing)  # new words stay as they are
        return draw_losses(base, rows, local.dropout, generator, base.own_positions(generator, len(rows), local.draws))

    known = (examples.latents, examples.text, examples.pooled)
    optimiser = partial(torch.optim.Adam, lr=local.rate)
    batch = min(local.batch, len(examples))
    with PrivateTrainer(
        base.network, privacy, known, batch=batch, loss_of=loss_of, optimiser=optimiser, draws=local.draws
    ) as trainer:
        for _ in range(steps):
            trainer.step()


def batch_loss(base: Base, examples: Examples, local: Local, rng: np.random.Generator) -> torch.Tensor:
    """Return the mean loss of one random batch."""
    chosen = examples.pick(rng.choice(len(examples), min(local.batch, len(examples)), replace=False))
    return draw_losses(base, chosen, local.dropout, rng).mean()


def draw_losses(
    base: Base, chosen: Examples, dropout: float, rng: np.random.Generator, positions: np.ndarray | None = None
) -> torch.Tensor:
    """Return every example's loss [B] with random noise, at these positions or at random ones."""
    text, pooled = chosen.silenced(base, rng.random(len(chosen)) < dropout)
    noise = torch.from_numpy(rng.standard_normal(tuple(chosen.latents.shape), np.float32))
    at = base.positions(rng, len(chosen)) if positions is None else positions
    return base.losses(chosen.latents, text, pooled, at, noise)


@torch.no_grad()
def mean_loss(base: Base, examples: Examples, *, draws: int = 4, seed: int = 0) -> float:
    """Return the loss over all examples at fixed positions and noise: comparable between networks."""
    rng: Any = np.random.default_rng([seed, 99])
    found = [
        draw_losses(base, examples.pick(np.arange(at, min(at + 128, len(examples)))), 0.0, rng)
        for _ in range(draws)
        for at in range(0, len(examples), 128)
    ]
    return float(torch.cat(found).mean())
