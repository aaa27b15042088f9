"""A split picture, really made: through a checkpoint as bytes. And what somebody who sees a half-made picture can tell of its prompt."""

import dataclasses
import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from edgegen.core.errors import InputError
from edgegen.core.result import mean_interval
from edgegen.generate.builtin import Sampling
from edgegen.generate.checkpoint import Checkpoint
from edgegen.generate.engine import NO_GUIDANCE, Backend, Engine, EngineRequest
from edgegen.generate.grammar import Scene
from edgegen.generate.judge import Judge

STRANGER = "ddim"  # remembers nothing between steps, so that a latent alone is enough to go on


class Ran(NamedTuple):
    """A picture that two engines made."""

    picture: np.ndarray  # uint8[side, side, 3]
    sent: bytes  # from server to device: nothing, a checkpoint, or the picture as PNG
    server_steps: int
    device_steps: int


def run_split(server: Engine, device: Engine, request: EngineRequest, handover: int) -> Ran:
    """Make a picture of which the server does the first `handover` steps and the device the others.

    Both work beside their other requests, on engines of their own for the same model. **Raises** `InputError` for a handover that is
    not within the steps, `CheckpointError` if the device's model is another one.
    """
    if not 0 <= handover <= request.steps:
        raise InputError(f"handover must be from 0 to {request.steps} steps, got {handover}", param="handover")
    there, here = server.another(1), device.another(1)
    if handover == 0:
        here.submit(request)
        return Ran(_finish(here)[request.id], b"", 0, request.steps)
    there.submit(request)
    if handover == request.steps:
        picture = _finish(there)[request.id]
        return Ran(picture, _png(picture), handover, 0)
    for _ in range(handover):
        there.step()
    sent = there.checkpoint(request.id).to_bytes()
    here.resume(Checkpoint.from_bytes(sent))
    return Ran(_finish(here)[request.id], sent, handover, request.steps - handover)


class Recovered(NamedTuple):
    """What a stranger recovers who sees the latent that is handed over after so many steps."""

    handover: int
    left: float  # share of the steps that are left: 1 is noise alone, 0 the finished picture
    share: float  # of the attributes that were asked for, as the judge sees them in the stranger's picture
    low: float  # 95 % interval of the mean over captions
    high: float
    chance: float  # the same pictures against what somebody else asked for: what is right by accident
    n: int


def recovered(
    backend: Backend,
    scenes: Sequence[Scene],
    judge: Judge,
    *,
    steps: int,
    handovers: Sequence[int],
    sampling: Sampling,
    seed: int = 0,
) -> list[Recovered]:
    """Let a stranger finish half-made pictures without their prompts, and judge what comes out against what was asked for.

    The stranger has the model and the latent x_t, and neither prompt nor guidance. This is about the latent alone: a checkpoint as it
    travels names the prompt, too. At least two scenes; all handovers from 0 to `steps`.
    """
    if len(scenes) < 2 or not all(0 <= handover <= steps for handover in handovers):
        raise InputError(f"expected at least 2 scenes and handovers from 0 to {steps}, got {len(scenes)}, {handovers}")
    engine = Engine(backend, len(scenes))
    names = [str(number) for number in range(len(scenes))]
    for number, scene in enumerate(scenes):
        engine.submit(EngineRequest(names[number], scene.caption(), steps, seed + number, *sampling))
    found: dict[int, np.ndarray] = {}
    for done in range(steps - 1):
        if done in handovers:
            found[done] = _by_stranger(engine, names)
        engine.step()
    if steps - 1 in handovers:
        found[steps - 1] = _by_stranger(engine, names)
    pictures = _finish(engine)
    found[steps] = np.stack([pictures[name] for name in names])
    out = []
    for handover in handovers:
        shares = np.array([verdict.share for verdict in judge(found[handover], scenes)])
        others = [verdict.share for verdict in judge(found[handover], [*scenes[1:], scenes[0]])]
        mean, low, high = mean_interval(shares)
        out.append(Recovered(handover, 1 - handover / steps, mean, low, high, float(np.mean(others)), len(shares)))
    return out


def _by_stranger(engine: Engine, names: Sequence[str]) -> np.ndarray:
    """Finish copies of all pictures without prompt and guidance; the engine's own are not touched."""
    other = engine.another(len(names))
    for name in names:
        kept = engine.checkpoint(name)
        blind = dataclasses.replace(kept.request, prompt="", guidance=NO_GUIDANCE, sampler=STRANGER)
        other.resume(dataclasses.replace(kept, request=blind, state=kept.state | {"sampler": STRANGER}))
    pictures = _finish(other)
    return np.stack([pictures[name] for name in names])


def _finish(engine: Engine) -> dict[str, np.ndarray]:
    pictures = {}
    while len(engine):
        pictures |= {event.id: event.picture for event in engine.step() if event.picture is not None}
    return pictures


def _png(picture: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "PNG")
    return out.getvalue()
