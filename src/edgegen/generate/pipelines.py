"""What a pipeline's folder says about itself, read without torch: what cannot work is refused before that is loaded."""

import json
from pathlib import Path

from edgegen.core.errors import InputError
from edgegen.generate import builtin

EXPORTED = "StableDiffusionPipeline"


def pipeline_kind(folder: Path) -> str:
    """Return the pipeline's class of a folder. **Raises** `InputError` for one that is not supported."""
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; expected that of a diffusers pipeline")
    index = folder / "model_index.json"
    if not index.is_file():
        raise InputError(f"{folder} has no model_index.json: it is no folder of a diffusers pipeline")
    kind = json.loads(index.read_text()).get("_class_name")
    if kind not in builtin.USUAL:
        raise InputError(f"{folder} is of a {kind}, which the engine does not know; known: {', '.join(builtin.USUAL)}")
    return kind


def check_exportable(source: str) -> None:
    """Check that a built-in model or a pipeline's folder can be exported to ONNX. **Raises** `InputError`."""
    kind = EXPORTED if source in builtin.names() else pipeline_kind(Path(source))
    if kind != EXPORTED:
        raise InputError(f"{source} is of a {kind}; only {EXPORTED} (1.x and 2.x) can be exported so far")
