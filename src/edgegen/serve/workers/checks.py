"""What every worker has to fulfil, as checks that anybody can run on a worker of their own.

A worker states its `abilities`, and what is not among them is not asked of it.

Each check takes a function that makes a fresh, unopened worker and raises `AssertionError` with a sentence.
"""

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from edgegen.core.errors import WorkerError
from edgegen.serve.workers.messages import Job, Pace, Progress
from edgegen.serve.workers.protocol import AbstractWorker, ReleasedError

MakeWorker = Callable[[], AbstractWorker]
_SLOW = Pace(step_s=0.02)
PNG_START = b"\x89PNG\r\n\x1a\n"


def job(identifier: str = "one", *, model: str = "shapes-s", steps: int = 4, seed: int = 7, **fields) -> Job:
    """Return a small job."""
    return Job(id=identifier, model=model, steps=steps, seed=seed, **{"prompt": "a red circle", **fields})


@asynccontextmanager
async def opened(make: MakeWorker) -> AsyncIterator[AbstractWorker]:
    """Open a worker that is closed at the end whatever happens."""
    worker = make()
    await worker.open(on_lost=lambda reason: None, on_joined=lambda: None)
    try:
        yield worker
    finally:
        await worker.close()


async def makes_a_picture(make: MakeWorker) -> None:
    """A job ends with a PNG, after progress in order that ends with the last step."""
    seen: list[Progress] = []
    async with opened(make) as worker:
        assert worker.alive, "an opened worker is alive"
        report = await worker.run(job(), seen.append)
    assert base64.b64decode(report.png_b64).startswith(PNG_START), "the picture is a PNG"
    steps = [progress.step for progress in seen]
    assert steps == sorted(set(steps)), f"steps come in order, got {steps}"
    if worker.abilities.steps:
        assert steps[-1] == 4, f"the last step is told, got {steps}"
    assert min(report.queue_s, report.load_s, report.generate_s) >= 0, f"no time is negative: {report}"


async def sends_previews_when_asked(make: MakeWorker) -> None:
    """Previews come with the steps that were named, and only with them; a worker without previews sends none."""
    seen: list[Progress] = []
    async with opened(make) as worker:
        await worker.run(job(previews=(1, 3)), seen.append)
    with_preview = [progress.step for progress in seen if progress.preview_b64]
    expected = [1, 3] if worker.abilities.previews else []
    assert with_preview == expected, f"previews at steps {expected}, got {with_preview}"


async def makes_many_pictures(make: MakeWorker) -> None:
    """Jobs that are given at once all end."""
    async with opened(make) as worker:
        jobs = [worker.run(job(f"job-{index}", steps=1), _ignore) for index in range(5)]
        reports = await asyncio.gather(*jobs)
    assert {report.id for report in reports} == {f"job-{index}" for index in range(5)}, "every job ends as itself"


async def stops_when_cancelled(make: MakeWorker) -> None:
    """A cancelled job makes no more progress, and the worker goes on with the next one."""
    seen: list[Progress] = []
    async with opened(make) as worker:
        begun = asyncio.Event()

        def notice(progress: Progress) -> None:
            seen.append(progress)
            begun.set()

        running = asyncio.create_task(worker.run(job("long", steps=1000, pace=_SLOW), notice))
        waiting = asyncio.create_task(begun.wait())
        await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        running.cancel()
        await asyncio.wait([running])
        count = len(seen)
        await worker.run(job("next", steps=1), _ignore)
    assert len(seen) == count < 1000, f"no progress after the cancel: {count} steps before, {len(seen)} at the end"


async def obeys_or_ignores_a_change_of_steps(make: MakeWorker) -> None:
    """A job that is told to finish with other steps does those, or its own; what is not here is no concern."""
    seen: list[Progress] = []
    async with opened(make) as worker:

        def notice(progress: Progress) -> None:
            seen.append(progress)
            if progress.step == 2:
                worker.retarget("one", 6)

        worker.retarget("one", 6)
        await worker.run(job("one", steps=12, pace=_SLOW), notice)
        told = [(progress.step, progress.steps) for progress in seen]
        worker.retarget("one", 24)
        seen.clear()
        await worker.run(job("one"), seen.append)
    if not worker.abilities.steps:
        return
    assert told[-1] in ((6, 6), (12, 12)), f"6 steps or 12, got {told}"
    assert told[0][1] == 12, f"an order before the job concerns no job, got {told}"
    assert (seen[-1].step, seen[-1].steps) == (4, 4), f"an order after the job concerns no other, got {seen[-1]}"


async def gives_back_or_finishes(make: MakeWorker) -> None:
    """A job that is to be given back ends at its next step, as `ReleasedError`, or is finished; others are no concern."""
    seen: list[Progress] = []
    last: list[int] = []
    async with opened(make) as worker:

        def notice(progress: Progress) -> None:
            seen.append(progress)
            if progress.step == 2:
                worker.release("one")

        worker.release("one")  # it is not here yet, so this is about nothing
        try:
            await worker.run(job(steps=12, pace=_SLOW), notice)
        except ReleasedError as given:
            last.append(given.step)
        steps = last[0] if last else 12
        assert steps in (2, 3, 4, 12), f"given back soon after step 2, or finished; got step {steps}"
        told = [progress.step for progress in seen]
        assert max(told, default=0) <= steps, f"told up to step {told[-1]}, given back after {steps}"
        worker.release("one")
        report = await worker.run(job("next", steps=2), _ignore)
        assert report.id == "next", "the worker goes on with the next one"


async def goes_on_from_a_checkpoint_or_starts_anew(make: MakeWorker) -> None:
    """What was given back is finished by another worker, from where it was or from the start; steps count the whole."""
    kept: list[Progress] = []
    given: list[str | None] = []
    async with opened(make) as worker:

        def notice(progress: Progress) -> None:
            kept.append(progress)
            if progress.step == 5:
                worker.release("one")

        try:
            await worker.run(job(steps=12, keep_every=2, pace=_SLOW), notice)
        except ReleasedError as error:
            given.append(error.checkpoint_b64)
    told = {progress.step: progress.checkpoint_b64 for progress in kept if progress.checkpoint_b64}
    assert all(step % 2 == 0 for step in told), f"checkpoints come after every second step, got them at {sorted(told)}"
    for checkpoint in (*given, *told.values(), "bm8gY2hlY2twb2ludA==", "no text of bytes"):
        seen: list[Progress] = []
        async with opened(make) as worker:
            report = await worker.run(job(steps=12, checkpoint_b64=checkpoint, pace=_SLOW), seen.append)
        assert base64.b64decode(report.png_b64).startswith(PNG_START), "the picture is a PNG"
        steps = [progress.step for progress in seen]
        assert steps == sorted(set(steps)), f"steps come in order, got {steps}"
        ends = [(progress.step, progress.steps) for progress in seen[-1:]]
        assert ends == [(12, 12)] or not worker.abilities.steps, f"it ends as the whole picture, got {ends}"


async def may_be_told_when_things_are_due(make: MakeWorker) -> None:
    """Jobs with and without a deadline, late ones too, all end."""
    async with opened(make) as worker:
        dues = (None, 0.001, 5.0, -1.0, None)
        jobs = [job(f"{at}", steps=3, due_s=due_s, pace=Pace(step_s=0.002)) for at, due_s in enumerate(dues)]
        reports = await asyncio.gather(*(worker.run(one, _ignore) for one in jobs))
    assert sorted(report.id for report in reports) == [f"{at}" for at in range(len(dues))], "every job ends as itself"


async def loads_and_evicts(make: MakeWorker) -> None:
    """Loading says how long it took; evicting what is not there is fine."""
    async with opened(make) as worker:
        seconds = await worker.load("shapes-s", pad_s=0.05)
        assert seconds >= 0.05 - 1e-3, f"loading lasts at least what was asked, took {seconds}"
        await worker.evict("shapes-s")
        await worker.evict("shapes-s")


async def learns_or_says_that_it_does_not(make: MakeWorker) -> None:
    """A worker is told of a new model, or refuses with a WorkerError, and goes on making pictures."""
    async with opened(make) as worker:
        try:
            worker.learn("new", "nowhere")
            learns = True
        except WorkerError:
            learns = False
        report = await worker.run(job(steps=1), _ignore)
    assert learns == worker.abilities.learns, f"its abilities say {worker.abilities.learns}, it did {learns}"
    assert report.id == "one", "the worker goes on with the next one"


async def refuses_when_closed(make: MakeWorker) -> None:
    """A closed worker is not alive, says so when it is asked to work, and can be closed again."""
    worker = make()
    await worker.open(on_lost=lambda reason: None, on_joined=lambda: None)
    await worker.close()
    await worker.close()
    assert not worker.alive, "a closed worker is not alive"
    try:
        await worker.run(job(), _ignore)
    except WorkerError:
        return
    raise AssertionError("a closed worker refuses work with a WorkerError")


CHECKS: tuple[Callable[[MakeWorker], Awaitable[None]], ...] = (
    makes_a_picture,
    sends_previews_when_asked,
    makes_many_pictures,
    stops_when_cancelled,
    obeys_or_ignores_a_change_of_steps,
    gives_back_or_finishes,
    goes_on_from_a_checkpoint_or_starts_anew,
    may_be_told_when_things_are_due,
    loads_and_evicts,
    learns_or_says_that_it_does_not,
    refuses_when_closed,
)


def _ignore(progress: Progress) -> None:
    del progress
