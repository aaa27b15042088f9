"""Open the folder of a model by what it is: an adapter, ONNX parts, or a pipeline of diffusers."""

from pathlib import Path

from edgegen.core.errors import InputError
from edgegen.generate.backends.adapted import AdaptedBackend, is_adapter
from edgegen.generate.backends.onnx import OnnxBackend, has_parts
from edgegen.generate.engine import Backend


def open_folder(folder: Path) -> Backend:
    """Return the model of a folder, ready to make pictures; ONNX comes first where a folder is both.

    torch is loaded only for a pipeline, and has to be installed for it.
    """
    if is_adapter(folder):
        return AdaptedBackend(folder)
    if has_parts(folder) or not (folder / "model_index.json").is_file():
        return OnnxBackend(folder)
    try:
        from edgegen.generate.backends.diffusers import DiffusersBackend
    except ImportError as error:
        raise InputError(
            f"{folder} is a diffusers pipeline, which needs torch and diffusers ({error}): install edgegen[train]"
        ) from error
    return DiffusersBackend.open(folder)
