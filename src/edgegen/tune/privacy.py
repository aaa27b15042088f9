"""What differential privacy is asked for, when it is worth its noise, and with what it cannot be combined.

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
from collections.abc import Callable
from dataclasses import dataclass

from edgegen.core.checks import positive
from edgegen.core.errors import ConfigError, InputError, UnknownNameError

NONE, EXAMPLE, CLIENT = "none", "example", "client"
KINDS = (NONE, EXAMPLE, CLIENT)
MEAN = "mean"


@dataclass(frozen=True)
class Privacy:
    """Settings of differential privacy; without privacy, only `kind` means anything."""

    kind: str = NONE  # whose presence is hidden: nobody's, one example's, one client's
    noise: float = 1.0  # standard deviation of the noise on a sum, over `clip`
    clip: float = 1.0  # L2 norm to which one record's share of a sum is cut
    delta: float = 1e-5  # probability with which the promise may fail; well below 1 / records
    max_epsilon: float = 8.0  # budget: training stops before it would be passed

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UnknownNameError("kind of privacy", self.kind, KINDS, param="kind")
        positive(self, "noise", "clip", "max_epsilon")
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


# ------------------------------------------------------------------------------------------------- what cannot both hold


@dataclass(frozen=True)
class Combination:
    """What a federated run combines."""

    privacy: Privacy
    mode: str  # what is exchanged: ffa, fedit, fedex (adapters), or a part of the network
    aggregation: str = MEAN  # how updates become one: "mean", or the name of a robust rule
    secure: bool = False  # the server learns the sum of the updates only
    equal_weights: bool = True  # every site counts the same, however many examples it has


def _hides_what_rules_compare(given: Combination) -> str | None:
    if given.secure and given.aggregation != MEAN:
        return (
            f"secure aggregation hides the single updates that the robust rule {given.aggregation!r} compares: use the mean,"
            " or switch secure aggregation off"
        )
    return None


def _hides_what_fedex_multiplies(given: Combination) -> str | None:
    if given.secure and given.mode == "fedex":
        return (
            "secure aggregation hides the two factors of each site that 'fedex' multiplies: use 'ffa', whose sum is exact"
            " without seeing them"
        )
    return None


def _hides_what_the_server_clips(given: Combination) -> str | None:
    if given.secure and given.privacy.kind == CLIENT:
        return (
            "secure aggregation hides the single updates that client-level privacy clips at the server: use example-level"
            " privacy, which every site applies itself"
        )
    return None


def _noise_is_for_the_mean(given: Combination) -> str | None:
    if given.privacy.kind == CLIENT and given.aggregation != MEAN:
        return (
            f"the noise of client-level privacy is measured for a mean, to which one client adds at most clip / clients;"
            f" {given.aggregation!r} has no such bound: use the mean"
        )
    return None


def _one_share_per_client(given: Combination) -> str | None:
    if given.privacy.kind == CLIENT and not given.equal_weights:
        return (
            "client-level privacy needs equal weights: with weights by examples one client may move the mean by more than"
            " clip / clients, and the weights themselves tell how much it holds: use the same weight for every site"
        )
    return None


def _gives_single_updates_away(given: Combination) -> str | None:
    if given.privacy.kind == CLIENT and given.mode == "fedex":
        return (
            "'fedex' sends every site's own factors to all others, which is what client-level privacy forbids: use 'ffa'"
            " or example-level privacy"
        )
    return None


RULES: tuple[Callable[[Combination], str | None], ...] = (
    _hides_what_rules_compare,
    _hides_what_fedex_multiplies,
    _hides_what_the_server_clips,
    _noise_is_for_the_mean,
    _one_share_per_client,
    _gives_single_updates_away,
)


def conflicts(given: Combination) -> tuple[str, ...]:
    """Say why parts of a combination cannot both hold; nothing if they can."""
    return tuple(reason for rule in RULES if (reason := rule(given)))


def refuse_conflicts(given: Combination) -> None:
    """Refuse a combination that cannot hold.

    **Raises** `ConfigError` with every reason.
    """
    if reasons := conflicts(given):
        raise ConfigError("this cannot be combined: " + "; ".join(reasons), param="privacy")
