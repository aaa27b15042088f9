"""Run a diffusers pipeline in the engine: Stable Diffusion 1.x and 2.x, Stable Diffusion XL, Stable Diffusion 3.

The pipeline's own parts read prompts, answer about latents and decode them; only its loop and its scheduler are replaced, by the engine's
steps on the same schedule. LoRA weights are loaded by the pipeline, through peft. This is the one module of generation that needs
torch; it is imported when such a folder is opened.
"""

from __future__ import annotations

import abc
import hashlib
import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from diffusers import DiffusionPipeline
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from edgegen.core.errors import InputError
from edgegen.generate.fingerprints import of_files
from edgegen.generate.pipelines import pipeline_kind
from edgegen.generate.schedules import PREDICTIONS, AbstractSchedule, Discrete, Flow

WEIGHTS = (".safetensors", ".bin", ".json", ".txt", ".model")


class Lora(NamedTuple):
    """Weights that change a model a little, and how strongly."""

    file: Path
    weight: float = 1.0


class AbstractFamily(abc.ABC):
    """How the pipelines of one family read prompts and answer about latents.

    What is read of a prompt becomes one row of numbers, so that the engine need not know of what it consists.
    """

    optional: tuple[str, ...] = ()  # parts that its pipelines can do without

    def __init__(self, pipe: Any) -> None:
        self.pipe = pipe

    @property
    @abc.abstractmethod
    def network(self) -> Any:
        """The network that denoises."""

    @abc.abstractmethod
    def encode(self, prompts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return text states [B, T, D] and pooled states [B, P]; P is 0 where the family has none."""

    @abc.abstractmethod
    def denoise(
        self, latents: torch.Tensor, times: torch.Tensor, text: torch.Tensor, pooled: torch.Tensor
    ) -> torch.Tensor:
        """Return the network's answer [B, C, H, W]."""

    def schedule(self) -> AbstractSchedule:
        """Return the noise schedule of the pipeline's scheduler."""
        return discrete(self.pipe.scheduler)


class StableDiffusion(AbstractFamily):
    """1.x and 2.x: one text encoder, epsilon or v."""

    @property
    def network(self) -> Any:
        return self.pipe.unet

    def encode(self, prompts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        text, _ = self.pipe.encode_prompt(prompts, self.pipe.device, 1, False)
        return text, text.new_zeros(len(text), 0)

    def denoise(
        self, latents: torch.Tensor, times: torch.Tensor, text: torch.Tensor, pooled: torch.Tensor
    ) -> torch.Tensor:
        del pooled
        return self.network(latents, times, encoder_hidden_states=text, return_dict=False)[0]


class StableDiffusionXl(AbstractFamily):
    """XL: two text encoders, a pooled state, and the picture's size and crop as numbers."""

    @property
    def network(self) -> Any:
        return self.pipe.unet

    def encode(self, prompts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        text, _, pooled, _ = self.pipe.encode_prompt(prompts, do_classifier_free_guidance=False)
        if self.pipe.config.force_zeros_for_empty_prompt:  # as the pipeline does where no negative prompt is given
            said = torch.tensor([bool(prompt) for prompt in prompts], device=text.device)
            text, pooled = text * said[:, None, None], pooled * said[:, None]
        return text, pooled

    def denoise(
        self, latents: torch.Tensor, times: torch.Tensor, text: torch.Tensor, pooled: torch.Tensor
    ) -> torch.Tensor:
        height, width = (side * self.pipe.vae_scale_factor for side in latents.shape[-2:])
        size = torch.tensor([height, width, 0, 0, height, width], dtype=latents.dtype, device=latents.device)
        added = {"text_embeds": pooled, "time_ids": size.expand(len(latents), -1)}
        return self.network(
            latents, times, encoder_hidden_states=text, added_cond_kwargs=added, return_dict=False
        )[0]  # fmt: skip


class StableDiffusion3(AbstractFamily):
    """3.x: a transformer that predicts the velocity of a flow. Its third text encoder is large and may be missing."""

    optional = ("text_encoder_3", "tokenizer_3")

    @property
    def network(self) -> Any:
        return self.pipe.transformer

    def encode(self, prompts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        text, _, pooled, _ = self.pipe.encode_prompt(prompts, None, None, do_classifier_free_guidance=False)
        return text, pooled

    def denoise(
        self, latents: torch.Tensor, times: torch.Tensor, text: torch.Tensor, pooled: torch.Tensor
    ) -> torch.Tensor:
        return self.network(
            hidden_states=latents, timestep=times, encoder_hidden_states=text, pooled_projections=pooled, return_dict=False
        )[0]  # fmt: skip

    def schedule(self) -> AbstractSchedule:
        config = self.pipe.scheduler.config
        if config.get("use_dynamic_shifting"):
            raise InputError("a flow whose shift depends on the picture's size (use_dynamic_shifting) is not supported")
        return Flow(float(config["shift"]))


FAMILIES: dict[str, type[AbstractFamily]] = {
    "StableDiffusionPipeline": StableDiffusion,
    "StableDiffusionXLPipeline": StableDiffusionXl,
    "StableDiffusion3Pipeline": StableDiffusion3,
}


def discrete(scheduler: Any) -> Discrete:
    """Return the schedule of any diffusers scheduler with trained betas; its own way of stepping does not matter."""
    config = scheduler.config
    prediction = PREDICTIONS.get(config.get("prediction_type", "epsilon"))
    if prediction is None:
        raise InputError(
            f"networks that predict {config['prediction_type']!r} are not supported; known: {', '.join(PREDICTIONS)}"
        )
    if config.get("rescale_betas_zero_snr"):
        raise InputError("betas rescaled to end without any signal (rescale_betas_zero_snr) are not supported")
    alphas = np.cumprod(1 - scheduler.betas.double().numpy())
    digest = hashlib.blake2b(alphas.tobytes(), digest_size=4).hexdigest()
    return Discrete(f"betas {digest}, {prediction.name}", alphas, prediction)


class DiffusersBackend:
    """One pipeline of a supported family; `files` are what its fingerprint is of."""

    def __init__(self, pipe: Any, files: Sequence[Path], label: str = "") -> None:
        kind = type(pipe).__name__
        self._pipe, self._family = pipe, FAMILIES[kind](pipe)
        network = self._family.network
        if network.config.get("time_cond_proj_dim") is not None:
            raise InputError(
                f"networks that are told the guidance (distilled ones) are not supported, got a {kind} of it"
            )
        self._schedule = self._family.schedule()
        sides = network.config.sample_size
        height, width = (sides, sides) if isinstance(sides, int) else sides
        self.latent_shape: tuple[int, int, int] = (network.config.in_channels, height, width)
        self._files = list(files)
        self._kind = f"{kind}, {self._schedule.name}, {label}"
        self._fingerprint: str | None = None
        self._text_shape: tuple[int, ...] = ()  # of one prompt's states; the rest of its row is pooled
        self.encode([""])

    @staticmethod
    def open(folder: Path, loras: Sequence[Lora] | None = None) -> DiffusersBackend:
        """Open a folder, on the CPU or on the first accelerator, with its LoRA weights or with others."""
        loras = read_loras(folder) if loras is None else loras
        pipe = open_pipeline(folder)
        pipe.to("cuda" if torch.cuda.is_available() else "cpu")
        names = [f"lora{number}" for number in range(len(loras))]
        for name, lora in zip(names, loras, strict=True):
            pipe.load_lora_weights(lora.file.parent, weight_name=lora.file.name, adapter_name=name)
        if loras:
            pipe.set_adapters(names, [lora.weight for lora in loras])
        files = sorted(path for path in folder.rglob("*") if path.suffix in WEIGHTS and path.is_file())
        return DiffusersBackend(pipe, [*files, *(lora.file for lora in loras)], f"{[lora.weight for lora in loras]}")

    @property
    def schedule(self) -> AbstractSchedule:
        """Return the noise schedule that the model was trained on."""
        return self._schedule

    @property
    def fingerprint(self) -> str:
        """Return what tells this model from any other; the files are read when it is first asked for."""
        if self._fingerprint is None:
            self._fingerprint = of_files(self._files, self._kind)
        return self._fingerprint

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> np.ndarray:
        """Turn prompts into rows of numbers float32[B, N]: text states, then pooled states where there are any."""
        text, pooled = self._family.encode(list(prompts))
        self._text_shape = tuple(text.shape[1:])
        return torch.cat([text.flatten(1), pooled], 1).cpu().numpy()

    @torch.no_grad()
    def denoise(self, latents: np.ndarray, timesteps: np.ndarray, text: np.ndarray) -> np.ndarray:
        """Ask the network about float32[B, C, H, W]; every row has its own timestep."""
        device, count = self._pipe.device, int(np.prod(self._text_shape))
        rows = torch.from_numpy(text).to(device)
        states, pooled = rows[:, :count].unflatten(1, self._text_shape), rows[:, count:]
        times = torch.as_tensor(np.asarray(timesteps), device=device)
        times = times.float() if times.is_floating_point() else times
        return self._family.denoise(torch.from_numpy(latents).to(device), times, states, pooled).cpu().numpy()

    @torch.no_grad()
    def decode(self, latents: np.ndarray) -> np.ndarray:
        """Turn latents into pictures uint8[B, side, side, 3]."""
        vae = self._pipe.vae
        config, scaled = vae.config, torch.from_numpy(latents).to(self._pipe.device)
        mean, spread = config.get("latents_mean"), config.get("latents_std")
        if mean is not None and spread is not None:
            scaled = scaled * scaled.new_tensor(spread).view(1, -1, 1, 1)
            scaled = scaled / config.scaling_factor + scaled.new_tensor(mean).view(1, -1, 1, 1)
        else:
            scaled = scaled / config.scaling_factor + (config.get("shift_factor") or 0.0)
        planes = vae.decode(scaled, return_dict=False)[0]
        shown = self._pipe.image_processor.postprocess(planes, output_type="np")
        return np.rint(shown * 255).astype(np.uint8)


def open_pipeline(folder: Path) -> Any:
    """Open the pipeline of a folder in float32. **Raises** `InputError` for one that is not supported."""
    kind = pipeline_kind(folder)
    left_out = {part: None for part in FAMILIES[kind].optional if not (folder / part).is_dir()}
    with quietly():
        pipe = DiffusionPipeline.from_pretrained(folder, local_files_only=True, torch_dtype=torch.float32, **left_out)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@contextmanager
def quietly() -> Iterator[None]:
    """Keep the libraries' bars and remarks about parts that they did not expect from the screen."""
    loggers = (diffusers_logging, transformers_logging)
    before = [logger.get_verbosity() for logger in loggers]
    for logger in loggers:
        logger.set_verbosity_error()
        logger.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # `torch_dtype` is the name that old versions know, too
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.set_verbosity(level)
            logger.enable_progress_bar()


def read_loras(folder: Path) -> list[Lora]:
    """Read from its card which LoRA weights belong to a folder: `{"loras": [{"file": ..., "weight": ...}]}`."""
    card = folder / "card.json"
    if not card.is_file():
        return []
    kept = json.loads(card.read_text()).get("loras", [])
    return [Lora(folder / entry["file"], float(entry.get("weight", 1.0))) for entry in kept]
