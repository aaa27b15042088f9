"""Makes pictures with the built-in models, or with models of your own: in the same format, or pipelines of diffusers."""

import contextlib
import dataclasses
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from edgegen.generate import builtin
from edgegen.generate.checkpoint import Checkpoint, CheckpointError
from edgegen.generate.engine import Backend, Engine, EngineRequest
from edgegen.generate.opening import open_folder
from edgegen.generate.samplers import MAX_STEPS
from edgegen.serve.workers.makers import AbstractMaker, to_png
from edgegen.serve.workers.messages import Job, unpack


@dataclasses.dataclass(eq=False)
class _Group:
    """Pictures that share the passes of one engine."""

    engine: Engine
    forming: dict[str, "_Forming"] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(eq=False)
class _Model:
    backend: Backend
    sampling: builtin.Sampling
    together: _Group


@dataclasses.dataclass(eq=False)
class _Forming:
    """A picture in the making; done, steps and finished, uint8[side, side, 3], are what its engine told last."""

    group: _Group
    id: str
    done: int
    steps: int
    spent_s: float = 0.0
    finished: np.ndarray | None = None


class BuiltinMaker(AbstractMaker):
    """One thread, real denoising; up to `slots` pictures share a pass.

    `folders` are of models that are not built in; `open_backend` opens a folder, within a block of `loading`.
    """

    def __init__(
        self,
        folders: Mapping[str, str],
        *,
        open_backend: Callable[[Path], Backend] = open_folder,
        slots: int = 1,
        loading: Callable[[], contextlib.AbstractContextManager] = contextlib.nullcontext,
    ):
        self._folders, self._open, self._slots, self._loading = dict(folders), open_backend, slots, loading
        self._models: dict[str, _Model] = {}

    def learn(self, model: str, folder: str) -> None:
        self._folders[model] = folder

    def load(self, model: str) -> None:
        if model not in self._models:
            folder = Path(self._folders[model]) if model in self._folders else builtin.folder(model)
            with self._loading():
                backend = self._open(folder)
                self._models[model] = _Model(backend, builtin.sampling(folder), _Group(Engine(backend, self._slots)))

    def evict(self, model: str) -> None:
        self._models.pop(model, None)  # what is being made with it keeps it until it is finished

    def loaded(self, model: str) -> bool:
        return model in self._models

    def begin(self, job: Job) -> _Forming:
        model = self._models[job.model]
        return self._place(_Group(model.together.engine.another(1)), job, None)

    def join(self, job: Job, due_s: float | None) -> _Forming:
        return self._place(self._models[job.model].together, job, due_s)

    def shares(self, token: _Forming) -> Hashable:
        return id(token.group)

    def step(self, token: _Forming) -> list[_Forming]:
        group, stepped = token.group, []
        for event in group.engine.step():
            forming = group.forming[event.id]
            forming.done, forming.steps, forming.finished = event.step, event.steps, event.picture
            forming.spent_s = event.spent.seconds
            stepped.append(forming)
        return stepped

    def progress(self, token: _Forming) -> tuple[int, int]:
        return token.done, token.steps

    def spent_s(self, token: _Forming) -> float:
        return token.spent_s

    def retarget(self, token: _Forming, steps: int) -> bool:
        if steps > MAX_STEPS or not token.group.engine.retarget(token.id, steps):
            return False
        token.steps = steps
        return True

    def picture(self, token: _Forming) -> bytes:
        array = token.group.engine.preview(token.id) if token.finished is None else token.finished
        return to_png(Image.fromarray(array))

    def checkpoint(self, token: _Forming) -> bytes:
        return token.group.engine.checkpoint(token.id).to_bytes()

    def done(self, job: Job) -> int:
        checkpoint = _checkpoint(job)
        return 0 if checkpoint is None else checkpoint.done

    def drop(self, token: _Forming) -> None:
        token.group.engine.cancel(token.id)
        token.group.forming.pop(token.id, None)

    def _place(self, group: _Group, job: Job, due_s: float | None) -> _Forming:
        if not self._resume(group.engine, job, due_s):
            sampling = self._models[job.model].sampling
            group.engine.submit(EngineRequest(job.id, job.prompt, job.steps, job.seed, *sampling), due_s=due_s)
        done, steps = group.engine.progress(job.id)
        forming = group.forming[job.id] = _Forming(group, job.id, done, steps)
        if steps != job.steps:
            self.retarget(forming, job.steps)  # changed while it was under way
        return forming

    def _resume(self, engine: Engine, job: Job, due_s: float | None) -> bool:
        """Go on from a job's checkpoint, if there is one that fits; a picture made anew is the same one, only later."""
        checkpoint = _checkpoint(job)
        if checkpoint is None:
            return False
        try:
            engine.resume(checkpoint, name=job.id, due_s=due_s)
        except CheckpointError:
            return False
        return True


def _checkpoint(job: Job) -> Checkpoint | None:
    """Return a job's checkpoint, if it has one and that is of this very picture."""
    data = unpack(job.checkpoint_b64)
    if data is None:
        return None
    try:
        checkpoint = Checkpoint.from_bytes(data)
    except CheckpointError:
        return None
    request = checkpoint.request
    return checkpoint if (request.prompt, request.seed) == (job.prompt, job.seed) else None
