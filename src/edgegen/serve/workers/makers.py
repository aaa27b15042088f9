"""What a worker process makes pictures with: the built-in models, or a picture made beforehand."""

import abc
import dataclasses
import io
import json
from collections.abc import Hashable
from typing import Any

from PIL import Image

from edgegen.serve.workers.messages import Job, unpack


class AbstractMaker(abc.ABC):
    """Makes pictures step by step. A token stands for a picture in the making; whoever drops it ends the work."""

    @abc.abstractmethod
    def learn(self, model: str, folder: str) -> None:
        """Note where the files of a new model are; it is loaded when it is asked for."""

    @abc.abstractmethod
    def load(self, model: str) -> None:
        """Bring a model into memory; having it already is fine."""

    @abc.abstractmethod
    def evict(self, model: str) -> None:
        """Take a model out of memory; not having it is fine."""

    @abc.abstractmethod
    def loaded(self, model: str) -> bool:
        """Tell whether a model is in memory."""

    @abc.abstractmethod
    def begin(self, job: Job) -> Any:
        """Read the prompt and return the token of a new picture, which makes its steps by itself.

        A job with a checkpoint goes on from there; one from which this maker cannot go on is made anew.
        """

    @abc.abstractmethod
    def join(self, job: Job, due_s: float | None) -> Any:
        """Do as `begin`, for a picture that shares its passes with the others of its model.

        Those with the least time to spare go first where there are more than share a pass. `due_s` is a moment on the
        clock of `time.monotonic`.
        """

    @abc.abstractmethod
    def shares(self, token: Any) -> Hashable:
        """Return what is the same for pictures that share their passes, and only for them."""

    @abc.abstractmethod
    def step(self, token: Any) -> list[Any]:
        """Do one pass of those that share it with this picture; return the tokens that did a denoising step in it."""

    @abc.abstractmethod
    def progress(self, token: Any) -> tuple[int, int]:
        """Return how many steps of a picture are done, and how many it has in all."""

    @abc.abstractmethod
    def spent_s(self, token: Any) -> float:
        """Return the seconds of this machine's processor that a picture took so far."""

    @abc.abstractmethod
    def retarget(self, token: Any, steps: int) -> bool:
        """Finish a picture with another number of steps in all; False when its maker cannot and it keeps its number."""

    @abc.abstractmethod
    def picture(self, token: Any) -> bytes:
        """Return what is there so far as a PNG; after the last step, the finished picture."""

    @abc.abstractmethod
    def checkpoint(self, token: Any) -> bytes:
        """Return what another maker with the same model needs to go on with an unfinished picture."""

    @abc.abstractmethod
    def done(self, job: Job) -> int:
        """Return how many steps a job's checkpoint has behind it; 0 without one from which this maker can go on."""

    @abc.abstractmethod
    def drop(self, token: Any) -> None:
        """Forget a picture, finished or not."""


@dataclasses.dataclass(eq=False)
class _Ready:
    """A picture that is there already and only counts its steps; `group` is its model where it shares passes."""

    model: str
    steps: int
    done: int = 0
    group: str | None = None


class InstantMaker(AbstractMaker):
    """Takes no time: every picture is the same one, made beforehand."""

    def __init__(self) -> None:
        self._png = ready_png()
        self._models: set[str] = set()
        self._together: dict[str, list[_Ready]] = {}

    def learn(self, model: str, folder: str) -> None:
        del model, folder

    def load(self, model: str) -> None:
        self._models.add(model)

    def evict(self, model: str) -> None:
        self._models.discard(model)

    def loaded(self, model: str) -> bool:
        return model in self._models

    def begin(self, job: Job) -> _Ready:
        done = self.done(job)
        return _Ready(job.model, max(job.steps, done + 1), done)

    def join(self, job: Job, due_s: float | None) -> _Ready:
        del due_s  # all of them are made at once
        token = dataclasses.replace(self.begin(job), group=job.model)
        self._together.setdefault(job.model, []).append(token)
        return token

    def shares(self, token: _Ready) -> Hashable:
        return token if token.group is None else token.group

    def step(self, token: _Ready) -> list[_Ready]:
        stepped = [token] if token.group is None else list(self._together[token.group])
        for each in stepped:
            each.done += 1
            if each.done == each.steps:
                self.drop(each)
        return stepped

    def progress(self, token: _Ready) -> tuple[int, int]:
        return token.done, token.steps

    def spent_s(self, token: _Ready) -> float:
        del token
        return 0.0

    def retarget(self, token: _Ready, steps: int) -> bool:
        if not token.done < min(steps, token.steps):
            return False
        token.steps = steps
        return True

    def picture(self, token: _Ready) -> bytes:
        del token
        return self._png

    def checkpoint(self, token: _Ready) -> bytes:
        return ready_checkpoint(token.model, token.done)

    def done(self, job: Job) -> int:
        return ready_done(job)

    def drop(self, token: _Ready) -> None:
        if token.group is not None and token in self._together.get(token.group, ()):
            self._together[token.group].remove(token)


def ready_checkpoint(model: str, done: int) -> bytes:
    """Pack where a picture that is only counted stands."""
    return json.dumps({"instant": model, "done": done}).encode()


def ready_done(job: Job) -> int:
    """Return the steps that a job's checkpoint has behind it, where `ready_checkpoint` packed it for the same model."""
    data = unpack(job.checkpoint_b64)
    if data is None:
        return 0
    try:
        kept = json.loads(data)
        fits = kept["instant"] == job.model and type(kept["done"]) is int and kept["done"] >= 0
    except (ValueError, TypeError, KeyError):
        return 0
    return kept["done"] if fits else 0


def ready_png(side: int = 64) -> bytes:
    """Return a PNG of the built-in models' size and of about the weight of one of their pictures."""
    image = Image.linear_gradient("L").resize((side, side)).convert("RGB")
    image.paste((220, 40, 40), (side // 4, side // 4, side // 2, side // 2))
    return to_png(image)


def to_png(image: Image.Image) -> bytes:
    """Return a picture as a PNG, packed for speed rather than for the last per cent."""
    target = io.BytesIO()
    image.save(target, format="PNG", compress_level=1)
    return target.getvalue()
