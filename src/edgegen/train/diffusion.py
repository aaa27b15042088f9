"""Train the text-to-image models: a small UNet on latents, by v-prediction, guided by an encoder that can read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderTiny, DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from transformers import CLIPTextConfig, CLIPTextModel

from edgegen.generate.schedules import ALPHAS, TRAIN_TIMESTEPS
from edgegen.train import pool, reading, recipe
from edgegen.train.loop import Average, pick_device, step_seed, train
from edgegen.train.tokens import END, START, nothing, word_ids


@dataclass
class Networks:
    """The two networks of one text-to-image model."""

    unet: UNet2DConditionModel
    text: CLIPTextModel


def build(size: recipe.Size) -> Networks:
    """Make the untrained networks of one size."""
    unet = UNet2DConditionModel(
        sample_size=recipe.LATENT_SIDE,
        in_channels=recipe.LATENT_CHANNELS,
        out_channels=recipe.LATENT_CHANNELS,
        layers_per_block=1,
        block_out_channels=size.block_channels,
        down_block_types=tuple("CrossAttnDownBlock2D" if attends else "DownBlock2D" for attends in size.attends),
        up_block_types=tuple("CrossAttnUpBlock2D" if attends else "UpBlock2D" for attends in reversed(size.attends)),
        cross_attention_dim=size.text_width,
        attention_head_dim=tuple(max(1, width // 28) for width in size.block_channels),  # type: ignore[arg-type]
        norm_num_groups=8,
        # The whole caption, pooled, joins the timestep in every block; cross-attention alone was slow to learn from.
        addition_embed_type="text",
        addition_embed_type_num_heads=4,
    )
    # Plain attention: the fused kernel's bfloat16 backward pass takes half of a CPU step at this size.
    unet.set_attn_processor(AttnProcessor())
    ids = word_ids()
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(ids) + _extra_symbols(),
            hidden_size=size.text_width,
            intermediate_size=2 * size.text_width,
            projection_dim=size.text_width,
            num_hidden_layers=size.text_layers,
            num_attention_heads=recipe.TEXT_HEADS,
            max_position_embeddings=recipe.MAX_TOKENS,
            bos_token_id=ids[START],
            eos_token_id=ids[END],
            pad_token_id=ids[END],
        )
    )
    return Networks(unet, text)


def scheduler() -> DDIMScheduler:
    """The noise schedule that training and every sampler share."""
    before = np.concatenate([[1.0], ALPHAS[:-1]])
    return DDIMScheduler(
        num_train_timesteps=TRAIN_TIMESTEPS,
        trained_betas=(1 - ALPHAS / before).tolist(),
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        clip_sample=False,
        steps_offset=1,  # of no effect with trailing spacing; diffusers' pipelines insist on it
    )


def fit(
    size: recipe.Size, folder: Path, autoencoder: AutoencoderTiny, steps_scale: float, progress: Callable[..., None]
) -> Networks:
    """Train one size, or load what is already trained, and give the averaged networks."""
    device, budget = pick_device(), size.budget.scaled(steps_scale)
    torch.manual_seed(recipe.SEED)
    networks = build(size)
    networks.unet.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-arg]
    networks.text.to(device)  # type: ignore[arg-type]
    reading.fit(f"{size.name}-text", networks.text, recipe.READING_BUDGET.scaled(steps_scale), folder, progress)
    unet, average = networks.unet, Average(networks.unet, 0.999)
    optimiser = torch.optim.AdamW(
        unet.parameters(), lr=budget.peak_rate, betas=(0.9, 0.99), weight_decay=0.01, fused=True
    )
    feed = _Feed(size.name, folder / pool.FOLDER, autoencoder, budget.batch, pool.shards(steps_scale))

    def advance(step: int) -> dict[str, float]:
        loss = _loss(networks, feed.batch(step), device)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimiser.step()
        average.update(step)
        return {"loss": float(loss.detach()), "gradient": float(norm)}

    parts: dict[str, Any] = {"network": unet, "average": average}
    train(size.name, folder, budget, parts=parts, optimiser=optimiser, advance=advance, progress=progress)
    unet.load_state_dict(average.weights)
    unet.eval()
    return networks


@dataclass
class _Batch:
    """One step's input: latents and noise float32[B, C, 8, 8], tokens int64[B, T], timesteps int64[B]."""

    latents: torch.Tensor
    noise: torch.Tensor
    tokens: torch.Tensor
    timesteps: torch.Tensor


class _Feed:
    """Gives the batch of any step, from the step's number alone."""

    def __init__(self, stage: str, folder: Path, autoencoder: AutoencoderTiny, batch: int, shard_count: int) -> None:
        self._stage, self._folder = stage, folder
        self._autoencoder = autoencoder
        self._batch, self._shards = batch, shard_count
        self._held: tuple[int, tuple[np.ndarray, np.ndarray], np.ndarray] | None = None

    def batch(self, step: int) -> _Batch:
        """Make one batch: the next rows of the current shard in this round's order, fresh noise and timesteps."""
        per_shard = recipe.SHARD_PICTURES // self._batch
        round_, at = divmod(step, per_shard)
        if self._held is None or self._held[0] != round_:
            rows = pool.shard(self._folder, round_ % self._shards, self._autoencoder)
            order = np.random.default_rng(step_seed(f"{self._stage} order", round_)).permutation(len(rows[0]))
            self._held = round_, rows, order
        _, (latents, tokens), order = self._held
        chosen = order[at * self._batch : (at + 1) * self._batch]
        rng = np.random.default_rng(step_seed(self._stage, step))
        clean = latents[chosen].astype(np.float32)
        words = tokens[chosen].astype(np.int64)
        words[rng.random(self._batch) < recipe.CONDITION_DROPOUT] = nothing()
        noise = rng.standard_normal(clean.shape, np.float32)
        # Stratified: every batch covers the whole range of timesteps, which makes the loss less noisy.
        spread = (rng.random() + np.arange(self._batch) / self._batch) % 1.0
        steps = np.minimum((spread * TRAIN_TIMESTEPS).astype(np.int64), TRAIN_TIMESTEPS - 1)
        return _Batch(*(torch.from_numpy(part) for part in (clean, noise, words, steps)))


_ALPHAS = scheduler().alphas_cumprod


def _loss(networks: Networks, batch: _Batch, device: torch.device) -> torch.Tensor:
    """Mean squared error of v = sqrt(alpha) noise - sqrt(1 - alpha) latents."""
    alpha = _ALPHAS[batch.timesteps].view(-1, 1, 1, 1)
    noisy = (alpha.sqrt() * batch.latents + (1 - alpha).sqrt() * batch.noise).to(device)
    target = (alpha.sqrt() * batch.noise - (1 - alpha).sqrt() * batch.latents).to(device)
    with torch.no_grad():
        text = networks.text(batch.tokens.to(device)).last_hidden_state  # it can read already
    with torch.autocast(device.type, torch.bfloat16):
        guess = networks.unet(
            noisy.contiguous(memory_format=torch.channels_last), batch.timesteps.to(device), encoder_hidden_states=text
        ).sample
    return torch.nn.functional.mse_loss(guess.float(), target)


def _extra_symbols() -> int:
    """Ids run past the grammar's words, because the tokenizer also lists letters and pieces of words."""
    ids = word_ids()
    return max(ids.values()) + 1 - len(ids)
