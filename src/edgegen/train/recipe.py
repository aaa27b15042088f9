"""The recipe of the built-in models: sizes, budgets and seeds. Everything that decides the weights is here."""

from __future__ import annotations

from dataclasses import dataclass, replace

from edgegen.generate.pictures import NEAT

SEED = 20240607
LATENT_SIDE, LATENT_CHANNELS = 8, 8
MAX_TOKENS = 24  # the longest caption and four places more, in which the text encoder sums it up
# What the models learn to draw, on a finer grid: every corner of the latents' cells.
FINE = replace(NEAT, grid=8)
MIXTURE = {"basic": 0.12, "detail": 0.23, "relation": 0.37, "complex": 0.28}  # share of each category in training


@dataclass(frozen=True)
class Budget:
    """How long and how fast one network is trained."""

    steps: int
    batch: int
    peak_rate: float
    warmup_steps: int = 200

    def scaled(self, factor: float) -> Budget:
        """Shorten or lengthen the training; used for trials and tests."""
        return replace(self, steps=max(1, round(self.steps * factor)))


@dataclass(frozen=True)
class Phase:
    """One stretch of the autoencoder's training."""

    name: str
    budget: Budget
    crops: float  # share of the steps that look at 32x32 pixels around an object: a quarter of the cost
    noise: float  # most noise on the latents, whose variance is 1: errors that the decoder must forgive


@dataclass(frozen=True)
class Size:
    """The shape of one text-to-image model; its network attends to the caption at the levels marked in `attends`."""

    name: str
    block_channels: tuple[int, ...]
    attends: tuple[bool, ...]
    text_width: int
    text_layers: int
    budget: Budget


AUTOENCODER_CHANNELS = 32
AUTOENCODER_ENCODER_BLOCKS = (0, 0, 1, 2)
AUTOENCODER_DECODER_BLOCKS = (3, 2, 1, 0)
# The second phase starts the cosine anew; with less noise on the latents its decoder learns the fine details.
AUTOENCODER_PHASES = (
    Phase("autoencoder", Budget(steps=3500, batch=32, peak_rate=2e-3), crops=0.8, noise=0.6),
    Phase("autoencoder-2", Budget(steps=2500, batch=32, peak_rate=2e-3), crops=0.7, noise=0.3),
)

TEXT_HEADS = 2
CONDITION_DROPOUT = 0.1  # share of training captions replaced by nothing, so that guidance works
POOL_SHARDS, SHARD_PICTURES = 24, 8192

READING_BUDGET = Budget(steps=400, batch=128, peak_rate=2e-3, warmup_steps=50)
SIZES = {
    "s": Size("shapes-s", (16, 32), (False, True), 32, 1, Budget(7000, 64, 2e-3)),
    "m": Size("shapes-m", (40, 64), (False, True), 64, 2, Budget(10000, 64, 1.6e-3)),
    "l": Size("shapes-l", (64, 112), (True, True), 96, 2, Budget(11000, 64, 1.2e-3)),
}

JUDGE_BUDGET = Budget(steps=2500, batch=64, peak_rate=3e-3)
