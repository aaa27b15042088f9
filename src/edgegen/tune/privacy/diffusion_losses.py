"""Losses of a diffusion network per example, for private training and for the attack that measures what it gives away.

The built-in models' loss (v-prediction, as in `edgegen.train.diffusion`), with one difference: nothing of one example depends on
another. Training without privacy spreads the timesteps of a batch evenly; there one more example would move the timesteps of
all others, and no bound on one example's share would hold. Here every example draws its own; only the several draws of *one*
example are spread evenly.
"""

from __future__ import annotations

import numpy as np
import torch

from edgegen.generate.schedules import ALPHAS, TRAIN_TIMESTEPS

_ALPHAS = torch.from_numpy(ALPHAS.astype(np.float32))


def v_losses(
    unet: torch.nn.Module, latents: torch.Tensor, text: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor
) -> torch.Tensor:
    """Mean squared error of v = sqrt(alpha) noise - sqrt(1 - alpha) latents, float[B].

    latents, noise: float[B, C, H, W]; text: the encoder's states float[B, T, D]; timesteps: int64[B] in 0..999.
    """
    alpha = _ALPHAS.to(latents.device)[timesteps].view(-1, 1, 1, 1)
    noisy = alpha.sqrt() * latents + (1 - alpha).sqrt() * noise
    target = alpha.sqrt() * noise - (1 - alpha).sqrt() * latents
    guess = unet(noisy, timesteps, encoder_hidden_states=text).sample
    return (guess - target).square().mean((1, 2, 3))


class DrawnLosses:
    """Losses at random timesteps with random noise: what `PrivateTrainer` calls with rows of (latents, text).

    `draws` rows in succession belong to one example; their timesteps are spread evenly over the whole range.
    """

    def __init__(self, unet: torch.nn.Module, *, draws: int = 1, generator: torch.Generator | None = None) -> None:
        self._unet, self._draws, self._generator = unet, draws, generator

    def __call__(self, latents: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        """Give the loss of each row, float[B]."""
        examples = len(latents) // self._draws
        offset = torch.rand(examples, 1, generator=self._generator)
        spread = (offset + torch.arange(self._draws)) / self._draws
        timesteps = (spread.reshape(-1) * TRAIN_TIMESTEPS).long().clamp(max=TRAIN_TIMESTEPS - 1)
        noise = torch.randn(latents.shape, generator=self._generator)
        return v_losses(self._unet, latents, text, noise.to(latents), timesteps.to(latents.device))


@torch.no_grad()
def losses_at(
    unet: torch.nn.Module,
    latents: torch.Tensor,
    text: torch.Tensor,
    *,
    timesteps: tuple[int, ...],
    draws: int = 4,
    seed: int = 0,
    batch: int = 256,
) -> np.ndarray:
    """Losses float32[B, len(timesteps)] with noise that depends on the seed alone, averaged over `draws` of it per timestep.

    The same seed gives every example's row the same noise under every network, so that two networks can be compared.
    """
    generator = torch.Generator().manual_seed(seed)
    was_training = unet.training
    unet.eval()
    out = np.zeros((len(latents), len(timesteps)), np.float32)
    for column, timestep in enumerate(timesteps):
        for _ in range(draws):
            noise = torch.randn(latents.shape, generator=generator).to(latents)
            for start in range(0, len(latents), batch):
                rows = slice(start, start + batch)
                at = torch.full((len(latents[rows]),), timestep, dtype=torch.int64, device=latents.device)
                out[rows, column] += v_losses(unet, latents[rows], text[rows], noise[rows], at).cpu().numpy() / draws
    unet.train(was_training)
    return out
