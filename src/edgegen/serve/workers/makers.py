"""What a worker process makes pictures with: the built-in models, or a picture made beforehand."""

import abc
import io
from typing import Any

from PIL import Image

from edgegen.serve.workers.messages import Job


class AbstractMaker(abc.ABC):
    """Makes pictures step by step. A token stands for a picture in the making; whoever drops it ends the work."""

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
        """Read the prompt and return the token of a new picture."""

    @abc.abstractmethod
    def step(self, token: Any) -> None:
        """Do one denoising step."""

    @abc.abstractmethod
    def retarget(self, token: Any, steps: int) -> bool:
        """Finish a picture with another number of steps in all; False when its maker cannot and it keeps its number."""

    @abc.abstractmethod
    def picture(self, token: Any) -> bytes:
        """Return what is there so far as a PNG; after the last step, the finished picture."""

    @abc.abstractmethod
    def drop(self, token: Any) -> None:
        """Forget a picture, finished or not."""


class InstantMaker(AbstractMaker):
    """Takes no time: every picture is the same one, made beforehand."""

    def __init__(self) -> None:
        self._png = ready_png()
        self._models: set[str] = set()

    def load(self, model: str) -> None:
        self._models.add(model)

    def evict(self, model: str) -> None:
        self._models.discard(model)

    def loaded(self, model: str) -> bool:
        return model in self._models

    def begin(self, job: Job) -> Any:
        return job.id

    def step(self, token: Any) -> None:
        del token

    def retarget(self, token: Any, steps: int) -> bool:
        del token, steps  # every number is as good
        return True

    def picture(self, token: Any) -> bytes:
        del token
        return self._png

    def drop(self, token: Any) -> None:
        del token


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
