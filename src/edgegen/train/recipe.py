"""The recipe of the built-in models: sizes, budgets and seeds. Everything that decides the weights is here."""

from __future__ import annotations

from dataclasses import dataclass, replace

from edgegen.generate.pictures import NEAT, Style

SEED = 20240607
LATENT_SIDE, LATENT_CHANNELS = 8, 8
MAX_TOKENS = 20
TRAIN_TIMESTEPS = 1000
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
class Lesson:
    """One stretch of a text-to-image model's training, with pictures of one style from one pool."""

    name: str
    pool: str
    style: Style
    budget: Budget


@dataclass(frozen=True)
class Size:
    """The shape of one text-to-image model."""

    name: str
    block_channels: tuple[int, ...]
    text_width: int
    text_layers: int
    first: Budget
    second: Budget

    def lessons(self) -> tuple[Lesson, ...]:
        """Two lessons: shapes first, on a finer grid; then captions, with fewer places to choose from."""
        fine = replace(NEAT, grid=8)
        return Lesson(self.name, "pool", fine, self.first), Lesson(f"{self.name}-2", "pool-2", NEAT, self.second)


AUTOENCODER_CHANNELS = 32
AUTOENCODER_ENCODER_BLOCKS = (0, 0, 1, 2)
AUTOENCODER_DECODER_BLOCKS = (3, 2, 1, 0)
# The second phase starts the cosine anew; with less noise on the latents its decoder learns the fine details.
AUTOENCODER_PHASES = (
    Phase("autoencoder", Budget(steps=4000, batch=32, peak_rate=2e-3), crops=0.75, noise=0.3),
    Phase("autoencoder-2", Budget(steps=3000, batch=32, peak_rate=2e-3), crops=0.8, noise=0.2),
)

TEXT_HEADS = 2
CONDITION_DROPOUT = 0.1  # share of training captions replaced by nothing, so that guidance works
POOL_SHARDS, SHARD_PICTURES = 10, 8192

SIZES = {
    "s": Size("shapes-s", (16, 32), 32, 1, Budget(3000, 64, 2e-3), Budget(3000, 64, 2e-3)),
    "m": Size("shapes-m", (32, 72), 64, 2, Budget(2500, 64, 1.5e-3), Budget(2500, 64, 1.5e-3)),
    "l": Size("shapes-l", (64, 112), 96, 3, Budget(6000, 64, 1.4e-3), Budget(3000, 64, 1.2e-3)),
}

JUDGE_BUDGET = Budget(steps=2500, batch=64, peak_rate=3e-3)
