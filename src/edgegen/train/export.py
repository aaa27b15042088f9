"""Write trained networks as a diffusers pipeline folder and as ONNX files with float16 weights."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import torch
from diffusers import AutoencoderTiny, StableDiffusionPipeline
from onnx import TensorProto, helper, numpy_helper

from edgegen.generate.words import MODEL_WORDS
from edgegen.train import recipe
from edgegen.train.diffusion import Networks, scheduler
from edgegen.train.judge import JudgeNetwork
from edgegen.train.tokens import build_tokenizer, word_ids

OPSET = 18
SMALLEST_HALF = 256  # values; smaller tensors (biases, constants) stay float32


def pipeline(networks: Networks, autoencoder: AutoencoderTiny, scratch: Path) -> StableDiffusionPipeline:
    """Assemble the ordinary diffusers pipeline from trained parts."""
    return StableDiffusionPipeline(
        vae=autoencoder,  # type: ignore[arg-type]
        text_encoder=networks.text,
        tokenizer=build_tokenizer(scratch),
        unet=networks.unet,
        scheduler=scheduler(),  # type: ignore[arg-type]
        safety_checker=None,  # type: ignore[arg-type]
        feature_extractor=None,  # type: ignore[arg-type]
        requires_safety_checker=False,
    )


def model(size: recipe.Size, networks: Networks, autoencoder: AutoencoderTiny, folder: Path) -> None:
    """Save one size: the diffusers folder (safetensors) and its ONNX parts."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in (networks.unet, networks.text, autoencoder):
        part.to("cpu").eval()  # type: ignore[union-attr]
        _round_to_half(part)
    half = pipeline(networks, autoencoder, folder / "tokenizer")
    half.to(dtype=torch.float16)
    half.save_pretrained(folder)
    half.to(dtype=torch.float32)
    latents = torch.zeros(2, recipe.LATENT_CHANNELS, recipe.LATENT_SIDE, recipe.LATENT_SIDE)
    tokens = torch.zeros(2, recipe.MAX_TOKENS, dtype=torch.int64)
    text = torch.zeros(2, recipe.MAX_TOKENS, size.text_width)
    steps = torch.zeros(2, dtype=torch.int64)
    to_onnx(_Text(networks), (tokens,), ["tokens"], ["text"], folder / "text.onnx")
    to_onnx(_Unet(networks), (latents, steps, text), ["latents", "timesteps", "text"], ["v"], folder / "unet.onnx")
    to_onnx(_Decoder(autoencoder), (latents,), ["latents"], ["picture"], folder / "decoder.onnx")
    _write_vocabulary(folder / "vocabulary.json")


def judge(network: JudgeNetwork, path: Path) -> None:
    """Save the judge as ONNX."""
    network.to("cpu").eval()
    _round_to_half(network)
    picture = torch.zeros(2, 3, 64, 64)
    to_onnx(network, (picture,), ["picture"], ["maps", "background"], path)


def to_onnx(
    module: torch.nn.Module,
    inputs: tuple[torch.Tensor, ...],
    names: list[str],
    outputs: list[str],
    path: Path,
    *,
    store: Callable[[onnx.ModelProto], None] | None = None,
) -> None:
    """Export with a free batch size, drop metadata, and store the weights: large ones as float16, or as `store` does."""
    batch = torch.export.Dim("batch", min=1, max=1024)
    shapes = tuple({0: batch} for _ in inputs)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module.eval(),
            inputs,
            dynamo=True,
            dynamic_shapes=shapes,
            input_names=names,
            output_names=outputs,
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None
    graph = program.model_proto
    strip(graph)
    (halve if store is None else store)(graph)
    onnx.checker.check_model(graph)
    path.write_bytes(graph.SerializeToString())


def strip(proto: onnx.ModelProto) -> None:
    """Drop what only a debugger needs: metadata, documentation and inferred shapes."""
    del proto.metadata_props[:], proto.graph.metadata_props[:], proto.graph.value_info[:]
    proto.doc_string = proto.graph.doc_string = ""
    functions = [node for function in proto.functions for node in function.node]
    for node in [*proto.graph.node, *functions]:
        del node.metadata_props[:]
        node.doc_string = ""
        node.name = ""
    for value in [*proto.graph.input, *proto.graph.output, *proto.graph.initializer]:
        del value.metadata_props[:]
        value.doc_string = ""


def halve(proto: onnx.ModelProto) -> None:
    """Store large float32 weights as float16 behind a Cast, which the runtime folds when it loads the model."""
    casts = []
    for weight in proto.graph.initializer:
        if weight.data_type != TensorProto.FLOAT or np.prod(weight.dims) < SMALLEST_HALF:
            continue
        name, values = weight.name, numpy_helper.to_array(weight)
        weight.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    nodes = list(proto.graph.node)
    del proto.graph.node[:]
    proto.graph.node.extend([*casts, *nodes])


def keep(proto: onnx.ModelProto) -> None:
    """Store weights as they are."""
    del proto


def _round_to_half(module: torch.nn.Module) -> None:
    """Round the weights to what float16 can hold, so that every format gives the same pictures."""
    for tensor in [*module.parameters(), *module.buffers()]:
        if tensor.dtype.is_floating_point:
            tensor.data = tensor.data.half().float()


def _write_vocabulary(path: Path) -> None:
    ids = word_ids()
    start, end = (value for word, value in ids.items() if word not in MODEL_WORDS)
    kept = {"words": {word: ids[word] for word in MODEL_WORDS}, "start": start, "end": end, "length": recipe.MAX_TOKENS}
    path.write_text(json.dumps(kept, indent=1) + "\n")


class _Text(torch.nn.Module):
    def __init__(self, networks: Networks) -> None:
        super().__init__()
        self.text = networks.text

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.text(tokens).last_hidden_state


class _Unet(torch.nn.Module):
    def __init__(self, networks: Networks) -> None:
        super().__init__()
        self.unet = networks.unet

    def forward(self, latents: torch.Tensor, timesteps: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        return self.unet(latents, timesteps, encoder_hidden_states=text, return_dict=False)[0]


class _Decoder(torch.nn.Module):
    def __init__(self, autoencoder: AutoencoderTiny) -> None:
        super().__init__()
        self.decoder = autoencoder.decoder

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        return self.decoder(latents)
