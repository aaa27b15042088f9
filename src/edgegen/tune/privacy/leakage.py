"""How much a tuned adapter gives away about the pictures it was tuned on: trainings, attacked with `attack`.

Members and others are drawn alike, so whatever tells them apart is what the network remembers. Each run draws its own pictures,
trains an adapter on the members, and looks at the loss of both with the same noise before and after.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch

from edgegen import generate
from edgegen.generate.pictures import FREE, draw_batch
from edgegen.train.data import to_tensor, training_scene
from edgegen.train.tokens import encode_captions
from edgegen.tune.privacy import attack
from edgegen.tune.privacy.accounting import least_noise
from edgegen.tune.privacy.diffusion_losses import DrawnLosses, losses_at
from edgegen.tune.privacy.private_steps import PrivateTrainer
from edgegen.tune.privacy.promise import EXAMPLE, NONE, Privacy

WEIGHTS = Path(generate.__file__).parent / "weights"
ADAPTED = ("to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "conv1", "conv2")
ATTACKED = 200  # at most so many members of a run are attacked

Examples = tuple[torch.Tensor, torch.Tensor]  # latents float[N, C, H, W], text states float[N, T, D]


@dataclass(frozen=True)
class Trial:
    """One way to train, to be attacked."""

    name: str
    members: int  # pictures trained on
    steps: int
    batch: int  # pictures per step; in expectation, with privacy
    rate: float  # Adam's learning rate
    kind: str = NONE  # of privacy
    max_epsilon: float = 8.0  # with privacy: the noise is the least that keeps all steps within it
    delta: float = 1e-5
    clip: float = 0.3
    draws: int = 1  # random timesteps per picture and step
    others: int = 200  # pictures not trained on


OVERTRAINED = Trial("over-trained", members=40, steps=300, batch=40, rate=2e-2)
PRIVATE_FEW = Trial("private, 40 pictures", 40, steps=50, batch=16, rate=2e-3, kind=EXAMPLE, draws=2)
PRIVATE_MANY = Trial("private, 1000 pictures", 1000, steps=60, batch=64, rate=5e-3, kind=EXAMPLE)


@dataclass(frozen=True)
class Found:
    """What attacks on a trial's trainings found, and what the trainings were good for."""

    trial: Trial
    runs: int
    by_loss: attack.Leakage  # the attacker has the tuned network
    calibrated: attack.Leakage  # and the base, too
    epsilon: float  # spent by one training; infinite without privacy
    base_loss: float  # mean loss of the others before tuning
    other_loss: float  # and after it: what the tuning was good for
    member_loss: float


def measure_leakage(
    trial: Trial,
    *,
    runs: int = 5,
    seed: int = 0,
    make: Callable[[int], torch.nn.Module] | None = None,
    examples: Callable[[int, int], Examples] | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Found:
    """Train `runs` times and attack each training.

    make: a fresh network for a seed, of which only the adapter wants gradients and which answers like the base;
    examples: so many examples for (count, seed). Both default to the smallest built-in model with an adapter of rank 4
    and pictures drawn more freely than it knows.
    """
    make, examples = make or fresh_adapter, examples or drawn_examples
    plain, calibrated, losses, spent = [], [], [], 0.0
    for run in range(runs):
        progress(f"{trial.name}: training {run + 1} of {runs}")
        own = int(np.random.default_rng([seed, run]).integers(2**31))
        latents, text = examples(trial.members + trial.others, own)
        known = min(trial.members, ATTACKED)
        asked = torch.cat([torch.arange(known), torch.arange(trial.members, len(latents))])
        unet = make(own)
        look = partial(losses_at, latents=latents[asked], text=text[asked], timesteps=attack.TIMESTEPS, seed=own)
        before = look(unet)
        spent = _train(unet, trial, (latents[: trial.members], text[: trial.members]), own)
        after = look(unet)
        for scores, kept in ((attack.by_loss(after), plain), (attack.by_fall(after, before), calibrated)):
            kept.append((scores[:known], scores[known:]))
        losses.append((before[known:].mean(), after[known:].mean(), after[:known].mean()))
    base_loss, other_loss, member_loss = np.mean(losses, axis=0)
    return Found(
        trial,
        runs,
        attack.over_runs(plain, seed=seed),
        attack.over_runs(calibrated, seed=seed),
        epsilon=spent,
        base_loss=float(base_loss),
        other_loss=float(other_loss),
        member_loss=float(member_loss),
    )


def _train(unet: torch.nn.Module, trial: Trial, examples: Examples, seed: int) -> float:
    """Train the network as the trial says; return the epsilon spent."""
    generator = torch.Generator().manual_seed(seed)
    loss_of = DrawnLosses(unet, draws=trial.draws, generator=generator)
    optimiser = partial(torch.optim.Adam, lr=trial.rate)
    if trial.kind == NONE:
        unet.train()
        adam = optimiser([one for one in unet.parameters() if one.requires_grad])
        for _ in range(trial.steps):
            rows = torch.randperm(trial.members, generator=generator)[: trial.batch].repeat_interleave(trial.draws)
            adam.zero_grad()
            loss_of(*(tensor[rows] for tensor in examples)).mean().backward()
            adam.step()
        return float("inf")
    rate = trial.batch / trial.members
    noise = least_noise(trial.max_epsilon, delta=trial.delta, sample_rate=rate, steps=trial.steps)
    privacy = Privacy(trial.kind, noise, trial.clip, trial.delta, trial.max_epsilon)
    with PrivateTrainer(
        unet,
        privacy,
        examples,
        batch=trial.batch,
        loss_of=loss_of,
        optimiser=optimiser,
        draws=trial.draws,
        rows=128,
        seed=seed,
    ) as trainer:
        for _ in range(trial.steps):
            trainer.step()
        return trainer.epsilon


def drawn_examples(count: int, seed: int) -> Examples:
    """Draw captioned pictures of any size, place and shade, and encode both for the smallest built-in model."""
    rng = np.random.default_rng(seed)
    scenes = [training_scene(rng) for _ in range(count)]
    autoencoder, encoder = _encoders()
    with torch.no_grad():
        latents = autoencoder(to_tensor(draw_batch(scenes, rng, style=FREE)))
        text = encoder(torch.from_numpy(encode_captions(scenes))).last_hidden_state
    return latents, text


def fresh_adapter(seed: int, *, rank: int = 4) -> torch.nn.Module:
    """The smallest built-in network, frozen, with an adapter that changes nothing yet; only its second factors train."""
    from diffusers import UNet2DConditionModel
    from diffusers.models.attention_processor import AttnProcessor
    from peft import LoraConfig

    unet = UNet2DConditionModel.from_pretrained(WEIGHTS / "shapes-s" / "unet")
    unet.set_attn_processor(AttnProcessor())
    unet.requires_grad_(False)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        unet.add_adapter(
            LoraConfig(r=rank, lora_alpha=rank, target_modules=list(ADAPTED), init_lora_weights="gaussian")
        )
    for name, parameter in unet.named_parameters():
        parameter.requires_grad_("lora_B" in name)
    return unet


@cache
def _encoders() -> tuple[torch.nn.Module, torch.nn.Module]:
    from diffusers import AutoencoderTiny
    from transformers import CLIPTextModel

    autoencoder = AutoencoderTiny.from_pretrained(WEIGHTS / "shared" / "vae")
    text = CLIPTextModel.from_pretrained(WEIGHTS / "shapes-s" / "text_encoder", dtype=torch.float32)
    return autoencoder.encoder.float().eval(), text.eval()
