"""Write a base once so that any adapter can run on it: the ONNX parts with the arrays of an adapter as inputs.

The network is not traced again. In the exported graph every weight W of a linear or convolutional layer gets a product in front,
W + B A, whose A [r, inputs] and B [out, r] come in with each pass; the text encoder's table of words gets rows appended that come
in, too. The exporter keeps the names of some weights and folds a transposition into others, which are found by their values.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file

from edgegen.core.errors import InputError
from edgegen.generate import builtin
from edgegen.generate.adapter_files import BASE, BASE_KIND, BASES, VERSION, WORDS, base_sha256, sha256_of
from edgegen.generate.backends.onnx import PARTS, SCHEDULE, part_file

_HALF = ".half"  # what a weight is called that is stored as float16 and cast
_TABLE = "token_embedding.weight"


def export(source: str, models: Path) -> Path:
    """Write the adaptable form of a built-in model, or of a Stable Diffusion 1.x or 2.x pipeline; return its folder.

    It goes into `bases` of a folder of models, under the hash of its weights; what is there already is left as it is.
    """
    built_in = source in builtin.names()
    weights = builtin.folder(source) if built_in else Path(source)
    digest = base_sha256(source)
    out = models / BASES / digest[:16]
    if (out / BASE).is_file():
        return out
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".new-", dir=out.parent))
    try:
        parts = weights if built_in else _exported(source, scratch / "parts")
        _write(weights, parts, scratch / "base", name=source if built_in else weights.name, digest=digest)
        os.rename(scratch / "base", out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return out


def _exported(source: str, folder: Path) -> Path:
    from edgegen.train.export_pipeline import export as export_pipeline  # needs torch

    export_pipeline(source, folder)
    return folder


def _write(weights: Path, parts: Path, out: Path, *, name: str, digest: str) -> None:
    out.mkdir()
    for part in PARTS:
        (out / f"{part}.onnx").write_bytes(part_file(parts, part).read_bytes())
    shutil.copyfile(part_file(parts, "vocabulary"), out / "vocabulary.json")
    if (parts / SCHEDULE).is_file():
        shutil.copyfile(parts / SCHEDULE, out / SCHEDULE)
    layers = adapt_unet(out / "unet.onnx", _weights(weights / "unet"))
    rows, width = adapt_text(out / "text.onnx")
    files = {file.name: sha256_of(file) for file in sorted(out.iterdir())}
    sampling = builtin.sampling(parts)
    about = {"format": BASE_KIND, "version": VERSION, "name": name, "sha256": digest, **sampling._asdict()}
    kept = {**about, "table": [rows, width], "layers": layers, "files": files}
    (out / BASE).write_text(json.dumps(kept, indent=1) + "\n")


def _weights(folder: Path) -> dict[str, np.ndarray]:
    """Return the weights of linear layers [out, in] and convolutions [out, in, h, w] by the layer's name, float32."""
    found = {}
    for file in sorted(folder.glob("*.safetensors")):
        for name, array in load_file(file).items():
            if name.endswith(".weight") and array.ndim in (2, 4):
                found[name.removesuffix(".weight")] = array.astype(np.float32)
    return found


@dataclass(frozen=True)
class _Place:
    """Where a layer's weight is in a graph."""

    value: str  # name of the float32 value
    stored: TensorProto
    turned: bool  # stored as [in, out]


def adapt_unet(path: Path, weights: dict[str, np.ndarray]) -> dict[str, tuple[int, int]]:
    """Give a network's file inputs for adapters of these layers; return [out, inputs] of each.

    **Raises** `InputError` when a layer is not in the graph, or in more than one place.
    """
    proto = onnx.load(path)
    graph = proto.graph
    nodes, renamed, layers = [], {}, {}
    for layer, place in _places(graph, weights).items():
        shape = weights[layer].shape
        layers[layer] = out, inputs = shape[0], int(np.prod(shape[1:]))
        a, b, adapted = f"{layer}.lora_A", f"{layer}.lora_B", f"{layer}.adapted"
        graph.input.append(helper.make_tensor_value_info(a, TensorProto.FLOAT, ["rank", inputs]))
        graph.input.append(helper.make_tensor_value_info(b, TensorProto.FLOAT, [out, "rank"]))
        renamed[place.value] = adapted
        if place.turned:
            nodes.append(helper.make_node("Gemm", [a, b, place.value], [adapted], transA=1, transB=1))
        elif len(shape) == 2:
            nodes.append(helper.make_node("Gemm", [b, a, place.value], [adapted]))
        else:
            place.stored.dims[:] = [out, inputs]
            graph.initializer.append(numpy_helper.from_array(np.array(shape, np.int64), f"{adapted}.shape"))
            nodes.append(helper.make_node("Gemm", [b, a, place.value], [f"{adapted}.flat"]))
            nodes.append(helper.make_node("Reshape", [f"{adapted}.flat", f"{adapted}.shape"], [adapted]))
    _insert(graph, nodes, renamed)
    onnx.checker.check_model(proto)
    path.write_bytes(proto.SerializeToString())
    return layers


def adapt_text(path: Path) -> tuple[int, int]:
    """Give a text encoder's file an input of more words, float32[W, D]; return the rows and the width of its own table."""
    proto = onnx.load(path)
    graph = proto.graph
    stored = [tensor for tensor in graph.initializer if tensor.name.removesuffix(_HALF).endswith(_TABLE)]
    if len(stored) != 1:
        raise InputError(f"expected one table of words named {_TABLE} in {path}, found {len(stored)}")
    rows, width = stored[0].dims
    table, longer = stored[0].name.removesuffix(_HALF), f"{_TABLE}.longer"
    graph.input.append(helper.make_tensor_value_info(WORDS, TensorProto.FLOAT, ["more", width]))
    _insert(graph, [helper.make_node("Concat", [table, WORDS], [longer], axis=0)], {table: longer})
    onnx.checker.check_model(proto)
    path.write_bytes(proto.SerializeToString())
    return int(rows), int(width)


def _insert(graph: onnx.GraphProto, nodes: list[onnx.NodeProto], renamed: dict[str, str]) -> None:
    """Put nodes behind the casts of stored weights, and let everything else use their outputs."""
    stored = {tensor.name for tensor in graph.initializer}
    casts = [node for node in graph.node if node.op_type == "Cast" and node.input[0] in stored]
    rest = [node for node in graph.node if not (node.op_type == "Cast" and node.input[0] in stored)]
    for node in rest:
        for at, name in enumerate(node.input):
            node.input[at] = renamed.get(name, name)
    del graph.node[:]
    graph.node.extend([*casts, *nodes, *rest])


def _places(graph: onnx.GraphProto, weights: dict[str, np.ndarray]) -> dict[str, _Place]:
    stored = {tensor.name.removesuffix(_HALF): tensor for tensor in graph.initializer}
    by_shape: dict[tuple[int, ...], dict[str, np.ndarray]] = {}
    for name, tensor in stored.items():
        if tensor.data_type in (TensorProto.FLOAT, TensorProto.FLOAT16) and len(tensor.dims) in (2, 4):
            by_shape.setdefault(tuple(tensor.dims), {})[name] = numpy_helper.to_array(tensor).astype(np.float32)
    found = {}
    for layer, weight in weights.items():
        named = [name for name in by_shape.get(weight.shape, {}) if name.endswith(f".{layer}.weight")]
        alike = by_shape.get(weight.shape[::-1], {}) if weight.ndim == 2 else {}
        turned = [] if named else [name for name, value in alike.items() if np.array_equal(value, weight.T)]
        if len(named) + len(turned) != 1:
            raise InputError(
                f"expected the weight of {layer} once in the graph, found it {len(named) + len(turned)} times"
            )
        value = (named or turned)[0]
        found[layer] = _Place(value, stored[value], turned=not named)
    return found
