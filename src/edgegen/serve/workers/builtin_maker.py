"""Makes pictures with the built-in models, or with models of your own in the same format, through ONNX Runtime."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from edgegen.generate import builtin
from edgegen.generate.backends.onnx import OnnxBackend
from edgegen.generate.engine import Backend, Engine, EngineRequest
from edgegen.generate.samplers import MAX_STEPS
from edgegen.serve.workers.makers import AbstractMaker, to_png
from edgegen.serve.workers.messages import Job


@dataclasses.dataclass
class _Model:
    backend: Backend
    sampling: builtin.Sampling


@dataclasses.dataclass
class _Forming:
    """A picture in the making; an engine of its own, so that pictures side by side keep their own pace."""

    engine: Engine
    id: str
    finished: np.ndarray | None = None  # uint8[side, side, 3]


class BuiltinMaker(AbstractMaker):
    """One thread, real denoising. `folders` are of models that are not built in; `open_backend` opens a folder."""

    def __init__(self, folders: Mapping[str, str], *, open_backend: Callable[[Path], Backend] = OnnxBackend):
        self._folders, self._open = folders, open_backend
        self._models: dict[str, _Model] = {}

    def load(self, model: str) -> None:
        if model not in self._models:
            folder = Path(self._folders[model]) if model in self._folders else builtin.folder(model)
            self._models[model] = _Model(_Remembering(self._open(folder)), builtin.sampling(folder))

    def evict(self, model: str) -> None:
        self._models.pop(model, None)

    def loaded(self, model: str) -> bool:
        return model in self._models

    def begin(self, job: Job) -> _Forming:
        model = self._models[job.model]
        engine = Engine(model.backend, max_batch=1)
        engine.submit(EngineRequest(job.id, job.prompt, job.steps, job.seed, *model.sampling))
        return _Forming(engine, job.id)

    def step(self, token: _Forming) -> None:
        (event,) = token.engine.step()
        token.finished = event.picture

    def retarget(self, token: _Forming, steps: int) -> bool:
        return steps <= MAX_STEPS and token.engine.retarget(token.id, steps)

    def picture(self, token: _Forming) -> bytes:
        array = token.engine.preview(token.id) if token.finished is None else token.finished
        return to_png(Image.fromarray(array))

    def drop(self, token: _Forming) -> None:
        token.engine.cancel(token.id)


class _Remembering:
    """A backend that reads the empty prompt, which every engine asks for, only once."""

    def __init__(self, backend: Backend):
        self._backend = backend
        self.latent_shape = backend.latent_shape
        self._nothing = backend.encode([""])

    def encode(self, prompts: Sequence[str]) -> np.ndarray:
        """Turn prompts into text states float32[B, T, D]."""
        prompts = list(prompts)
        return self._nothing if prompts == [""] else self._backend.encode(prompts)

    def denoise(self, latents: np.ndarray, timesteps: np.ndarray, text: np.ndarray) -> np.ndarray:
        """Predict v float32[B, C, H, W]."""
        return self._backend.denoise(latents, timesteps, text)

    def decode(self, latents: np.ndarray) -> np.ndarray:
        """Turn latents into pictures uint8[B, side, side, 3]."""
        return self._backend.decode(latents)
