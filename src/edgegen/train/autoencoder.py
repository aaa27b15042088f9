"""Train the autoencoder that all sizes share: 64x64x3 pictures to 8x8x8 latents and back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderTiny

from edgegen.generate.pictures import SIDE, lay_out, render
from edgegen.train import recipe
from edgegen.train.data import to_tensor, training_scene
from edgegen.train.loop import Average, pick_device, step_seed, train

UNIT_WEIGHT = 0.05
EDGE_WEIGHT = 1.0
OBJECT_WEIGHT = 4.0  # objects and their rims cover a tenth of a picture, and are what matters


def build() -> AutoencoderTiny:
    """Make an untrained autoencoder; its latents have mean 0 and variance 1 by its loss, so the scale is 1."""
    width = recipe.AUTOENCODER_CHANNELS
    return AutoencoderTiny(
        encoder_block_out_channels=(width,) * 4,
        decoder_block_out_channels=(width,) * 4,
        num_encoder_blocks=recipe.AUTOENCODER_ENCODER_BLOCKS,
        num_decoder_blocks=recipe.AUTOENCODER_DECODER_BLOCKS,
        latent_channels=recipe.LATENT_CHANNELS,
        scaling_factor=1.0,
    )


def fit(folder: Path, steps_scale: float, progress: Callable[..., None]) -> AutoencoderTiny:
    """Train in two phases, or load what is already trained, and give the averaged network."""
    torch.manual_seed(recipe.SEED)
    network = build().to(device=pick_device(), memory_format=torch.channels_last)  # type: ignore[call-overload]
    for phase in recipe.AUTOENCODER_PHASES:
        _fit(phase, network, folder, steps_scale, progress)
    return network.eval()


def _fit(
    phase: recipe.Phase, network: AutoencoderTiny, folder: Path, steps_scale: float, progress: Callable[..., None]
) -> None:
    budget = phase.budget.scaled(steps_scale)
    device = pick_device()
    average = Average(network, 0.999)
    optimiser = torch.optim.AdamW(network.parameters(), lr=budget.peak_rate, weight_decay=0.01, fused=True)

    def advance(step: int) -> dict[str, float]:
        rng = np.random.default_rng(step_seed(phase.name, step))
        crops = step < phase.crops * budget.steps
        pictures = _crops(rng, budget.batch) if crops else _whole(rng, budget.batch)
        noise = torch.from_numpy(_noise(rng, pictures, phase.noise)).to(device)
        with torch.autocast(device.type, torch.bfloat16):
            loss, figures = losses(network, to_tensor(pictures).to(device), noise)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        average.update(step)
        return figures

    parts: dict[str, Any] = {"network": network, "average": average}
    train(phase.name, folder, budget, parts=parts, optimiser=optimiser, advance=advance, progress=progress)
    network.load_state_dict(average.weights)


def losses(
    network: AutoencoderTiny, pictures: torch.Tensor, noise: torch.Tensor
) -> tuple[torch.Tensor, dict[str, float]]:
    """Reconstruction (pixels and edges) from noisy latents, and latents held at mean 0, variance 1 per channel."""
    pictures = pictures.contiguous(memory_format=torch.channels_last)
    latents = network.encoder(pictures).float()
    again = network.decoder(latents + noise).float()
    error = (again - pictures) * _importance(pictures)
    pixels = error.abs().mean() + error.square().mean()
    across = (error[..., 1:] - error[..., :-1]).abs().mean() + (error[..., 1:, :] - error[..., :-1, :]).abs().mean()
    mean, deviation = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    unit = mean.square().mean() + (deviation - 1).square().mean()
    loss = pixels + EDGE_WEIGHT * across + UNIT_WEIGHT * unit
    figures = {"loss": loss, "pixels": pixels, "edges": across, "unit": unit}
    return loss, {name: float(value.detach()) for name, value in figures.items()}


def _importance(pictures: torch.Tensor) -> torch.Tensor:
    """Weight float[B, 1, H, W]: more where a pixel or a neighbour differs from the commonest, the background."""
    ground = pictures.flatten(2).median(-1).values[..., None, None]
    differs = ((pictures - ground).abs().amax(1, keepdim=True) > 0.05).float()
    return 1 + OBJECT_WEIGHT * torch.nn.functional.max_pool2d(differs, 5, 1, 2)


def _whole(rng: np.random.Generator, batch: int) -> np.ndarray:
    return render(lay_out([training_scene(rng) for _ in range(batch)], rng, recipe.FINE))


def _crops(rng: np.random.Generator, batch: int) -> np.ndarray:
    """Cut half of each side out of drawn pictures, around the first object, along the latents' cells."""
    layout = lay_out([training_scene(rng) for _ in range(batch)], rng, recipe.FINE)
    whole, half, cell = render(layout), SIDE // 2, SIDE // recipe.LATENT_SIDE
    corner = np.clip(layout.centre[:, 0] - half / 2 + rng.uniform(-8, 8, (batch, 2)), 0, half)
    corner = np.round(corner / cell).astype(int) * cell  # as in whole pictures, centres lie on corners of cells
    return np.stack([one[y : y + half, x : x + half] for one, (x, y) in zip(whole, corner, strict=True)])


def _noise(rng: np.random.Generator, pictures: np.ndarray, most: float) -> np.ndarray:
    """Noise of a different strength for each picture, from none to the most."""
    batch, side = len(pictures), pictures.shape[1] * recipe.LATENT_SIDE // SIDE
    strength = rng.uniform(0, most, (batch, 1, 1, 1))
    return (rng.standard_normal((batch, recipe.LATENT_CHANNELS, side, side)) * strength).astype(np.float32)
