"""Export a model to the ONNX parts that run without torch: a built-in one, or a Stable Diffusion 1.x or 2.x pipeline."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline

from edgegen.core.errors import InputError
from edgegen.generate import builtin
from edgegen.generate.backends.diffusers import discrete, read_loras
from edgegen.generate.backends.onnx import PARTS, part_file
from edgegen.generate.pipelines import check_exportable
from edgegen.train.export import keep, to_onnx

LARGEST_BYTES = 1_900_000_000  # an ONNX file is one message of 2 GB at most


def export(source: str, out: Path, progress: Callable[[str], None] = lambda part: None) -> list[Path]:
    """Write text, unet and decoder as ONNX with what is needed to read prompts and to sample; return the files."""
    check_exportable(source)
    with tempfile.TemporaryDirectory() as scratch:
        if source in builtin.names():
            folder = builtin.assemble(source, Path(scratch) / source)
        else:
            folder = Path(source)
        pipe = StableDiffusionPipeline.from_pretrained(folder, local_files_only=True, torch_dtype=torch.float32)
        _fold(pipe, folder)
        size = sum(value.numel() * value.element_size() for value in pipe.unet.parameters())
        if size > LARGEST_BYTES:
            raise InputError(f"{source} has {size} bytes of weights; at most {LARGEST_BYTES} fit into one ONNX file")
        out.mkdir(parents=True, exist_ok=True)
        _write_parts(pipe, out, progress)
        schedule = discrete(pipe.scheduler)
        _write(out / "schedule.json", {"alphas": schedule.alphas.tolist(), "prediction": schedule.prediction.name})
        sampling = builtin.sampling(builtin.folder(source) if source in builtin.names() else folder)
        _write(out / "card.json", sampling._asdict())
    if source in builtin.names():
        shutil.copy(part_file(builtin.folder(source), "vocabulary"), out / "vocabulary.json")
    else:
        _write(out / "vocabulary.json", _vocabulary(pipe.tokenizer))
    return [out / f"{part}.onnx" for part in PARTS] + [out / f"{n}.json" for n in ("vocabulary", "schedule", "card")]


def _fold(pipe: Any, folder: Path) -> None:
    """Fold the LoRA weights of the folder's card into the network's own."""
    loras = read_loras(folder)
    for number, lora in enumerate(loras):
        pipe.load_lora_weights(lora.file.parent, weight_name=lora.file.name, adapter_name=f"lora{number}")
    if loras:
        pipe.set_adapters([f"lora{number}" for number in range(len(loras))], [lora.weight for lora in loras])
        pipe.fuse_lora()
        pipe.unload_lora_weights()


def _write_parts(pipe: Any, out: Path, progress: Callable[[str], None]) -> None:
    unet, length = pipe.unet, pipe.tokenizer.model_max_length
    sides = unet.config.sample_size
    height, width = (sides, sides) if isinstance(sides, int) else sides
    latents = torch.zeros(2, unet.config.in_channels, height, width)
    text = torch.zeros(2, length, unet.config.cross_attention_dim)
    tokens, steps = torch.zeros(2, length, dtype=torch.int64), torch.zeros(2, dtype=torch.int64)
    asked = ["latents", "timesteps", "text"]
    progress("text")
    to_onnx(_Text(pipe.text_encoder), (tokens,), ["tokens"], ["text"], out / "text.onnx", store=keep)
    progress("unet")
    to_onnx(_Unet(unet), (latents, steps, text), asked, ["answer"], out / "unet.onnx", store=keep)
    progress("decoder")
    to_onnx(_Decoder(pipe.vae), (latents,), ["latents"], ["picture"], out / "decoder.onnx", store=keep)


def _vocabulary(tokenizer: Any) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as scratch:
        tokenizer.save_pretrained(scratch)
        vocabulary, merges = _tables(Path(scratch))
    return {
        "pairs": {"vocabulary": vocabulary, "merges": merges},
        "start": tokenizer.bos_token_id,
        "end": tokenizer.eos_token_id,
        "pad": tokenizer.pad_token_id,
        "length": tokenizer.model_max_length,
    }


def _tables(folder: Path) -> tuple[dict[str, int], list[list[str]]]:
    """Read a saved tokenizer's ids and merges, from one file or from the older two."""
    whole = folder / "tokenizer.json"
    if whole.is_file():
        model = json.loads(whole.read_text())["model"]
        return model["vocab"], [pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"]]
    lines = (folder / "merges.txt").read_text().splitlines()[1:]
    return json.loads((folder / "vocab.json").read_text()), [line.split(" ") for line in lines if line]


def _write(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value) + "\n")


class _Text(torch.nn.Module):
    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.encoder(tokens)[0]


class _Unet(torch.nn.Module):
    def __init__(self, unet: Any) -> None:
        super().__init__()
        self.unet = unet

    def forward(self, latents: torch.Tensor, timesteps: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        return self.unet(latents, timesteps, encoder_hidden_states=text, return_dict=False)[0]


class _Decoder(torch.nn.Module):
    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae, self.scale = vae, float(vae.config.scaling_factor)
        self.after = getattr(vae, "post_quant_conv", None)

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        latents = latents / self.scale
        return self.vae.decoder(latents if self.after is None else self.after(latents))
