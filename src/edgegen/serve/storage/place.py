"""A database and a place for blobs, opened and closed together."""

import dataclasses
import os
from collections.abc import Mapping

from edgegen.config import StorageSection
from edgegen.serve.storage.blobs import Blobs
from edgegen.serve.storage.database import ENVIRONMENT_NAME, Database


@dataclasses.dataclass(frozen=True)
class Storage:
    """What a gateway keeps things in; open it before use."""

    database: Database
    blobs: Blobs
    keep_s: float  # after a job's end

    @classmethod
    def of(cls, section: StorageSection, environment: Mapping[str, str] = os.environ) -> "Storage | None":
        """Return what a configuration names, or None where it names nothing. **Raises** `ConfigError`."""
        url = environment.get(ENVIRONMENT_NAME) or section.url
        return cls(Database(url), Blobs(section.blobs), section.keep) if url else None

    async def open(self) -> None:
        """Connect, and bring the tables to the latest state. **Raises** `ConfigError`."""
        await self.database.open()

    async def close(self) -> None:
        """Close all connections; twice is fine."""
        await self.database.close()
