"""What differential privacy is asked for, and when it costs more than there is to say.

(epsilon, delta)-differential privacy (Dwork et al. 2006): whatever is published, an outcome is at most exp(epsilon) times
likelier with one record than without it, up to a probability of delta. The record decides what is promised:

- `example`: one picture of one site. The site trains with clipped and noised gradients (`private_steps`), so that everything
  that it sends is private, whoever reads it.
- `client`: all pictures of one site together. The server clips whole updates and puts noise on their mean
  (`client_noise`; McMahan et al. 2018, arXiv:1710.06963), so the promise holds towards those who see what the server gives out,
  not towards the server.

Client level and size: the mean of K updates of norm C has a norm of at most C, and its noise z C / K in each of d numbers has a
norm of about z C sqrt(d) / K. So the noise drowns the signal unless K > z sqrt(d): thousands of sites for a small adapter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgegen.core.checks import positive
from edgegen.core.errors import InputError, UnknownNameError

NONE, EXAMPLE, CLIENT = "none", "example", "client"
KINDS = (NONE, EXAMPLE, CLIENT)


@dataclass(frozen=True)
class Privacy:
    """Settings of differential privacy; without privacy, only `kind` means anything."""

    kind: str = NONE  # whose presence is hidden: nobody's, one example's, one client's
    noise: float = 1.0  # standard deviation of the noise on a sum, over `clip`
    clip: float = 1.0  # L2 norm to which one record's share of a sum is cut
    delta: float = 1e-5  # probability with which the promise may fail; well below 1 / records
    max_epsilon: float = math.inf  # budget: training stops before it would be passed

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UnknownNameError("kind of privacy", self.kind, KINDS, param="kind")
        positive(self, "noise", "clip")
        if not self.max_epsilon > 0:
            raise InputError(f"max_epsilon must be above 0, got {self.max_epsilon}", param="max_epsilon")
        if not 0 < self.delta < 1:
            raise InputError(f"delta must be above 0 and below 1, got {self.delta}", param="delta")


@dataclass(frozen=True)
class TooFewClients:
    """A warning: the noise that hides a client is larger than what all clients together can say."""

    clients: int
    parameters: int  # numbers in one update
    noise: float

    @property
    def noise_over_signal(self) -> float:
        """Norm of the noise over the largest norm that the mean update can have."""
        return self.noise * math.sqrt(self.parameters) / self.clients

    @property
    def enough_clients(self) -> int:
        """How many clients make the two equal."""
        return math.ceil(self.noise * math.sqrt(self.parameters))

    def __str__(self) -> str:
        return (
            f"client-level privacy with {self.clients} clients, noise {self.noise:g} and {self.parameters} numbers per update:"
            f" the noise is {self.noise_over_signal:.1f} times the largest mean update. At least {self.enough_clients} clients"
            " are needed for as much signal as noise; with fewer, hide examples instead (kind = 'example'), which each site"
            " does while it trains"
        )


def too_few_clients(privacy: Privacy, *, clients: int, parameters: int) -> TooFewClients | None:
    """Warn of client-level privacy that drowns what is learnt; None if there is nothing to warn of."""
    warning = TooFewClients(clients, parameters, privacy.noise)
    return warning if privacy.kind == CLIENT and warning.noise_over_signal > 1 else None
