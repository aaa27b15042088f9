"""A limit on how long a worker may say nothing about a picture: it lives, as its heartbeats say, and yet makes nothing."""

import asyncio
import math

from edgegen.serve.workers.messages import Job, Progress, Report
from edgegen.serve.workers.protocol import AbstractWorker, JobError, OnProgress

SILENCE_S = 60.0  # more than any hiccup of a machine
TIMES = 10.0  # the predicted time of the whole picture, on top


async def run(worker: AbstractWorker, job: Job, on_progress: OnProgress, *, predicted_s: float) -> Report:
    """Make a picture. **Raises** `JobError`, for another node to try, when the worker is silent for too long."""
    limit_s = SILENCE_S + TIMES * (predicted_s if math.isfinite(predicted_s) else 0.0)
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(limit_s) as limit:

            def heard(progress: Progress) -> None:
                limit.reschedule(loop.time() + limit_s)
                on_progress(progress)

            return await worker.run(job, heard)
    except TimeoutError:
        text = f"the worker of node {worker.node!r} said nothing about the picture for {limit_s:.0f} s"
        raise JobError(text, retry=True) from None
