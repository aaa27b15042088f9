"""The parts that the routes work with, and the order in which they begin and end."""

import asyncio
import dataclasses

from edgegen.observe.tracing import AbstractTracer
from edgegen.serve.admission import Admission
from edgegen.serve.auth import Keys
from edgegen.serve.intake import Intake
from edgegen.serve.jobs.keeper import Jobs
from edgegen.serve.keyring import Keyring
from edgegen.serve.publishing import Publisher
from edgegen.serve.runtime import Runtime
from edgegen.serve.storage.place import Storage
from edgegen.serve.workers.entrance import Entrance


@dataclasses.dataclass(frozen=True)
class Gateway:
    """One gateway: the loop around its dispatcher, the reader of bodies, who may come in as a user or worker, and what is kept."""

    runtime: Runtime
    intake: Intake
    keys: Keys
    keyring: Keyring
    admission: Admission
    publisher: Publisher
    tracer: AbstractTracer
    storage: Storage | None = None  # None: nothing outlives the process; no jobs, and only the configured keys
    jobs: Jobs | None = None
    entrance: Entrance = dataclasses.field(default_factory=Entrance)

    async def open(self) -> None:
        """Learn the keys, start the workers, and go on with the jobs that have not ended."""
        if self.storage is not None:
            await self.storage.open()
        await self.keyring.open()
        await self.runtime.open()
        if self.jobs is not None:
            await self.jobs.open()

    async def drain(self, grace_s: float) -> None:
        """Take nothing new, and finish what is under way as far as it goes."""
        draining = [] if self.jobs is None else [self.jobs.drain(grace_s)]  # they first: what is theirs does not fail
        await asyncio.gather(*draining, self.runtime.drain(grace_s))

    async def close(self) -> None:
        """End everything; what has not ended of the jobs is left to the next start."""
        if self.jobs is not None and self.jobs.opened:
            await self.jobs.close()
        await self.runtime.close()
        await self.keyring.close()
        if self.storage is not None:
            await self.storage.close()
        self.tracer.close()
