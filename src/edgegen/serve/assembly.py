"""The parts that the routes work with."""

import dataclasses

from edgegen.serve.auth import Keys
from edgegen.serve.intake import Intake
from edgegen.serve.runtime import Runtime
from edgegen.serve.workers.admission import Admissions


@dataclasses.dataclass(frozen=True)
class Gateway:
    """One gateway: the loop around its dispatcher, the reader of bodies, and who may come in, as a user or as a worker."""

    runtime: Runtime
    intake: Intake
    keys: Keys
    admissions: Admissions = dataclasses.field(default_factory=Admissions)
