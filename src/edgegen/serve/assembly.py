"""The parts that the routes work with, and the order in which they begin and end."""

import dataclasses

from edgegen.observe.tracing import AbstractTracer
from edgegen.serve.admission import Admission
from edgegen.serve.auth import Keys
from edgegen.serve.intake import Intake
from edgegen.serve.keyring import Keyring
from edgegen.serve.runtime import Runtime
from edgegen.serve.storage.database import Database


@dataclasses.dataclass(frozen=True)
class Gateway:
    """One gateway: the loop around its dispatcher, the reader of bodies, and who may come in."""

    runtime: Runtime
    intake: Intake
    keys: Keys
    keyring: Keyring
    admission: Admission
    tracer: AbstractTracer
    database: Database | None = None  # None: only the configured keys open, and no usage is booked

    async def open(self) -> None:
        """Learn the keys, then start the workers."""
        if self.database is not None:
            await self.database.open()
        await self.keyring.open()
        await self.runtime.open()

    async def close(self) -> None:
        """End everything; closing twice is fine."""
        await self.runtime.close()
        await self.keyring.close()
        if self.database is not None:
            await self.database.close()
        self.tracer.close()
