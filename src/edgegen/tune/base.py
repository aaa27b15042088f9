"""The frozen base that all sites share: a pipeline of a supported family, and its training loss.

A built-in model, or the folder of any diffusers pipeline that the engine knows. Its network is the only part that an
adapter changes; prompts and pictures are read by its frozen parts. It is told from any other by the SHA-256 of its files.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from diffusers.models.attention_processor import AttnProcessor
from torch import nn

from edgegen.core.errors import InputError, suggest
from edgegen.generate import builtin
from edgegen.generate.backends.diffusers import FAMILIES, StableDiffusion3, open_pipeline
from edgegen.generate.schedules import WHOLE_WAY, AbstractSchedule, Discrete, Prediction
from edgegen.generate.words import MODEL_WORDS, OBJECTS

CHUNK = 128
WEIGHTS = (".safetensors", ".bin")


class Vocabulary(nn.Module):
    """The text encoder's table: words that it knows, and new ones whose vectors can be learnt."""

    def __init__(self, known: torch.Tensor, new: torch.Tensor) -> None:
        super().__init__()
        self.known = nn.Parameter(known.detach().clone(), requires_grad=False)
        self.new = nn.Parameter(new, requires_grad=False)

    @property
    def weight(self) -> torch.Tensor:
        """All vectors, float32[V, D]; the new ones last."""
        return torch.cat([self.known, self.new])

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return nn.functional.embedding(tokens, self.weight)


class Base:
    """An open pipeline, ready to be adapted; on the CPU, in float32."""

    def __init__(self, model: str | Path) -> None:
        self.vocabulary: Vocabulary | None = None
        if model in builtin.names():
            self.name, self.words = str(model), tuple(OBJECTS)
            with TemporaryDirectory() as scratch:
                self._open(builtin.assemble(str(model), Path(scratch) / "pipeline"))
            self._learn_words()
        elif not Path(model).is_dir():
            known = ", ".join(builtin.names())
            raise InputError(
                f"no model named {str(model)!r} and no folder of that name;{suggest(str(model), builtin.names())} built in: {known}",
                param="base",
            )
        else:
            self.name, self.words = Path(model).name, ()
            self._open(Path(model))

    def _open(self, folder: Path) -> None:
        self.sha256 = sha256(folder)
        self.pipe: Any = open_pipeline(folder)
        self.family = FAMILIES[type(self.pipe).__name__](self.pipe)
        self.schedule: AbstractSchedule = self.family.schedule()
        self.network.requires_grad_(False)
        if not isinstance(self.family, StableDiffusion3):
            self.network.set_attn_processor(AttnProcessor())  # the fused kernel is slower at small sizes on a CPU

    @property
    def network(self) -> Any:
        """The network that denoises: a torch module."""
        return self.family.network

    def _learn_words(self) -> None:
        """Give the text encoder a place for each new word: a vector as long as those that it knows, the same everywhere."""
        tokenizer, encoder = self.pipe.tokenizer, self.pipe.text_encoder
        encoder.requires_grad_(False)
        table = encoder.get_input_embeddings().weight
        known = table[[tokenizer.convert_tokens_to_ids(f"{word}</w>") for word in MODEL_WORDS]]
        new = torch.from_numpy(word_vectors(self.words, known.shape[1]) * float(known.std()))
        tokenizer.add_tokens(list(self.words))
        self.vocabulary = Vocabulary(table, new)
        encoder.set_input_embeddings(self.vocabulary)

    def trained(self) -> list[nn.Parameter]:
        """Return the weights that are trained now, of the network and of the new words."""
        parts = [self.network] if self.vocabulary is None else [self.network, self.vocabulary]
        return [weight for part in parts for weight in part.parameters() if weight.requires_grad]

    def tokens(self, prompts: Sequence[str]) -> torch.Tensor | None:
        """Return the words of prompts as int64[B, T]; None for a base whose words do not change."""
        if self.vocabulary is None:
            return None
        tokenizer = self.pipe.tokenizer
        return tokenizer(
            list(prompts),
            padding="max_length",
            max_length=tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        ).input_ids

    def text_of(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the text states float32[B, T, D] of tokens, through which the vectors of new words can be learnt."""
        return self.pipe.text_encoder(tokens).last_hidden_state

    @torch.no_grad()
    def read(self, prompts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return text states float32[B, T, D] and pooled states [B, P] of prompts."""
        parts = [self.family.encode(list(prompts[at : at + CHUNK])) for at in range(0, len(prompts), CHUNK)]
        text, pooled = (torch.cat(part) for part in zip(*parts, strict=True))
        return text, pooled

    @torch.no_grad()
    def compress(self, pictures: np.ndarray) -> torch.Tensor:
        """Turn pictures uint8[B, side, side, 3] into latents float32[B, C, H, W]."""
        vae, out = self.pipe.vae, []
        for at in range(0, len(pictures), CHUNK):
            planes = torch.from_numpy(pictures[at : at + CHUNK]).permute(0, 3, 1, 2).float() / 127.5 - 1
            found = vae.encode(planes)
            latents = found.latents if hasattr(found, "latents") else found.latent_dist.mean
            out.append((latents - (vae.config.get("shift_factor") or 0.0)) * vae.config.scaling_factor)
        return torch.cat(out)

    def losses(
        self,
        latents: torch.Tensor,
        text: torch.Tensor,
        pooled: torch.Tensor,
        positions: np.ndarray,
        noise: torch.Tensor,
    ) -> torch.Tensor:
        """Return the mean squared error of every example [B] at positions of the schedule, float64[B] in (0, WHOLE_WAY]."""
        scales = np.array([self.schedule.scales(at) for at in positions])
        times = torch.tensor([self.schedule.timestep(at) for at in positions])
        signal, spread = _columns(scales, latents)
        clean_weight, noise_weight = _columns(
            np.array([answer(self.schedule.prediction, *pair) for pair in scales]), latents
        )
        guess = self.family.denoise(signal * latents + spread * noise, times, text, pooled)
        return (guess - clean_weight * latents - noise_weight * noise).square().flatten(1).mean(1)

    def positions(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Draw positions float64[count], spread evenly over the whole way, so that a batch's loss is less noisy."""
        return self._on_schedule((rng.random() + np.arange(count) / count) % 1.0)

    def own_positions(self, rng: np.random.Generator, count: int, draws: int) -> np.ndarray:
        """Draw positions float64[count] where `draws` rows in succession belong to one example, and only those are spread.

        Nothing of one example decides the positions of another: private training needs that.
        """
        offsets = rng.random((count // draws, 1))
        return self._on_schedule(((offsets + np.arange(draws)) / draws).reshape(-1))

    def _on_schedule(self, share: np.ndarray) -> np.ndarray:
        """Turn shares of the way, float64[n] in [0, 1), into positions."""
        at = share * WHOLE_WAY
        return np.floor(at) + 1 if isinstance(self.schedule, Discrete) else WHOLE_WAY - at


def answer(prediction: Prediction, signal: float, noise: float) -> tuple[float, float]:
    """Return the weights of clean latent and noise in what a network should answer, from what its answer says of them."""
    latent_weight, weight = prediction.clean(signal, noise)
    return (1 - latent_weight * signal) / weight, -latent_weight * noise / weight


def word_vectors(words: Sequence[str], width: int) -> np.ndarray:
    """Return a vector of variance 1 for every new word, float32[len(words), width]: by its letters, on every site the same."""
    drawn = [np.random.default_rng(zlib.crc32(word.encode())).standard_normal(width) for word in words]
    return np.array(drawn, np.float32)


def sha256(folder: Path) -> str:
    """Return the SHA-256 of a pipeline's weights, in hexadecimal."""
    found = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.suffix in WEIGHTS):
        found.update(f"{file.relative_to(folder)} {file.stat().st_size}\n".encode())
        with file.open("rb") as handle:
            while block := handle.read(1 << 20):
                found.update(block)
    return found.hexdigest()


def _columns(pairs: np.ndarray, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    shape = (-1, *(1,) * (like.dim() - 1))
    first, second = torch.from_numpy(pairs.astype(np.float32)).unbind(1)
    return first.view(shape), second.view(shape)
