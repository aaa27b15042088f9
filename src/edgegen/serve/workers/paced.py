"""A picture that lasts as long as on the machine that the worker stands for, whatever this one can do.

It computes at the speed of this machine and yields the moment until which it has to last, so between any two yields other work goes on,
and the picture may be changed, given back or dropped.
"""

from collections.abc import Callable, Iterator

from edgegen.serve.workers import making as news
from edgegen.serve.workers.makers import AbstractMaker
from edgegen.serve.workers.making import PROGRESS_S, Making
from edgegen.serve.workers.messages import encode, pack

Clock = Callable[[], float]
Send = Callable[[bytes], None]


def picture(making: Making, maker: AbstractMaker, send: Send, clock: Clock) -> Iterator[float]:
    """Make one picture: load, read the prompt, step by step, decode; every part lasts as its pace says."""
    job, pace = making.job, making.job.pace
    making.began_s = due_s = clock()
    if not maker.loaded(job.model):
        maker.load(job.model)
        due_s += pace.load_s
        yield due_s
    making.loaded_s = clock()
    if making.released:
        send(news.released_at(maker, making))
        return
    due_s = max(due_s, making.loaded_s)
    _begin(making, maker, clock)
    try:
        yield due_s + pace.fixed_s / 2  # the prompt is read before the steps, the picture decoded after them
        cursor_s = yield from _steps(making, maker, send, clock, due_s + pace.fixed_s / 2)
        if making.released and making.aim.begun < making.aim.steps:
            send(news.released_at(maker, making))
            return
        part_s = clock()
        png_b64 = pack(maker.picture(making.token))
        making.extra_s += clock() - part_s
        cursor_s += pace.fixed_s / 2
        yield cursor_s
    finally:
        maker.drop(making.token)
    paced_s = cursor_s - due_s
    behind_s = max(0.0, clock() - due_s - paced_s) if paced_s else 0.0
    send(_finished(making, png_b64, behind_s, clock()))


def _begin(making: Making, maker: AbstractMaker, clock: Clock) -> None:
    """Read the prompt, or go on from the checkpoint, and take the orders that came meanwhile."""
    part_s = clock()
    aim = making.aim
    making.token = token = maker.begin(making.job)
    aim.begun, aim.steps = maker.progress(token)
    if making.wanted is not None and aim.may_become(making.wanted) and maker.retarget(token, making.wanted):
        aim.steps = making.wanted
    making.told_s = making.loaded_s
    making.extra_s += clock() - part_s


def _steps(making: Making, maker: AbstractMaker, send: Send, clock: Clock, cursor_s: float):
    """Do the steps, each until its moment; return the last one's."""
    aim = making.aim
    while not making.released and (step := aim.next()):
        part_s = clock()
        maker.step(making.token)
        wanted = news.extras(maker, making, step, aim.steps)
        making.extra_s += clock() - part_s
        cursor_s += making.job.pace.step_s
        yield cursor_s
        if wanted or step == aim.steps or clock() - making.told_s >= PROGRESS_S:
            making.told_s = clock()
            send(news.progress(making, step, aim.steps, wanted))
    return cursor_s


def _finished(making: Making, png_b64: str, behind_s: float, ended_s: float) -> bytes:
    return encode(
        "finished",
        id=making.job.id,
        png_b64=png_b64,
        queue_s=making.began_s - making.queued_s,
        load_s=making.loaded_s - making.began_s,
        generate_s=ended_s - making.loaded_s,
        compute_s=making.extra_s,
        behind_s=behind_s,
    )
