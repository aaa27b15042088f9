"""A picture in the making at a worker's desk, and what is told about it."""

import dataclasses
from typing import Any

from edgegen.serve.workers.aim import Aim
from edgegen.serve.workers.makers import AbstractMaker
from edgegen.serve.workers.messages import Job, encode, pack

PROGRESS_S = 0.01  # steps that follow each other faster than this are not all told


@dataclasses.dataclass(eq=False)
class Making:
    """From its order on; the token is None until its prompt was read, and what is wanted before is kept until then."""

    job: Job
    queued_s: float
    aim: Aim
    token: Any = None
    wanted: int | None = None  # steps
    released: bool = False
    told_s: float = 0.0
    extra_s: float = 0.0  # processor time beside the passes: pictures packed, checkpoints
    began_s: float = 0.0  # when its turn came
    loaded_s: float = 0.0  # when its model was in memory
    first_s: float | None = None  # when its first step began

    @property
    def due_s(self) -> float | None:
        """The moment at which it is due, on the desk's clock."""
        return None if self.job.due_s is None else self.queued_s + self.job.due_s


@dataclasses.dataclass(frozen=True)
class Extras:
    """What goes out with the news of a step, as text; None where it was not asked for."""

    preview_b64: str | None
    checkpoint_b64: str | None

    def __bool__(self) -> bool:
        return self.preview_b64 is not None or self.checkpoint_b64 is not None


def extras(maker: AbstractMaker, making: Making, step: int, steps: int) -> Extras:
    """Make the preview and the checkpoint that a job wants after a step."""
    job = making.job
    keeps = job.keep_every > 0 and step % job.keep_every == 0 and step < steps
    return Extras(
        pack(maker.picture(making.token)) if step in job.previews else None,
        pack(maker.checkpoint(making.token)) if keeps else None,
    )


def progress(making: Making, step: int, steps: int, wanted: Extras) -> bytes:
    """Say that a step is done."""
    return encode("progress", id=making.job.id, step=step, steps=steps, **dataclasses.asdict(wanted))


def released(making: Making, step: int, checkpoint_b64: str | None) -> bytes:
    """Say that a picture is given back after a step."""
    return encode("released", id=making.job.id, step=step, checkpoint_b64=checkpoint_b64)


def released_at(maker: AbstractMaker, making: Making) -> bytes:
    """Say that a picture is given back where it stands; one that has not begun is given back as it came."""
    if making.token is None:
        step = maker.done(making.job)
        return released(making, step, making.job.checkpoint_b64 if step else None)
    step, _ = maker.progress(making.token)
    return released(making, step, pack(maker.checkpoint(making.token)) if step else None)
