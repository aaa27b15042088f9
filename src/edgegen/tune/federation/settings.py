"""What a federated run is told: how it learns, who takes part, what protects whom, and when it ends.

Combinations that cannot both hold are refused when the settings are made, each with the reason; what depends on how many
sites there are is checked when they are known (`check_sites`). Robust rules compare single updates and secure aggregation
hides them; a residual of products needs every factor; noise for a client hides one of K equal voices, not of unequal ones.
"""

import math
from typing import Annotated, Literal

import pydantic
from pydantic import ConfigDict, Field

from edgegen.core.errors import ConfigError

Aggregator = Literal["fedavg", "median", "trimmed-mean", "krum", "multi-krum", "bulyan"]
SMALLEST_SHARES = 3  # Flower's SecAgg+ takes no fewer


class _Section(pydantic.BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SecureSection(_Section):
    """Secure aggregation: the server learns the sum of the updates, no single one."""

    shares: Annotated[int, Field(ge=SMALLEST_SHARES)] = 3  # pieces that each site's keys are split into
    threshold: Annotated[int, Field(ge=2)] = 2  # pieces that are enough to put a lost site's keys together
    # Each number of an update, times the site's examples over max_weight, is cut to [-clip, clip]. Updates are small, and a
    # narrow range leaves more levels for them; the share of numbers that were cut is among the metrics.
    clip: Annotated[float, Field(gt=0)] = 1.0
    levels: Annotated[int, Field(ge=2, le=1 << 31)] = 1 << 22  # whole numbers that this range is mapped to
    max_weight: Annotated[float, Field(gt=0)] = 1000.0  # examples of the largest site; near it the sum is most exact

    @pydantic.model_validator(mode="after")
    def _fits(self):
        if self.threshold >= self.shares:
            raise ValueError(
                f"secure.threshold must be below secure.shares, got {self.threshold} of {self.shares}:"
                " else one lost site ends the round"
            )
        return self


class PrivacySection(_Section):
    """Differential privacy, of single examples (inside the site) or of whole sites (in the mean)."""

    kind: Literal["none", "example", "client"] = "none"
    noise: Annotated[float, Field(ge=0)] = 0.0  # standard deviation of the noise over the clip norm
    clip: Annotated[float, Field(gt=0)] = 1.0  # L2 norm that one example's gradient, or one site's update, is cut to
    delta: Annotated[float, Field(gt=0, lt=1)] = 1e-5
    max_epsilon: Annotated[float, Field(gt=0)] | None = None  # the run ends before it would spend more

    @pydantic.model_validator(mode="after")
    def _is_private(self):
        if self.kind == "none" and self.max_epsilon is not None:
            raise ValueError(
                "privacy.max_epsilon is a budget that nothing spends while privacy.kind is 'none'; choose"
                " privacy.kind 'example' or 'client', or leave it out"
            )
        if self.kind != "none" and self.noise == 0:
            raise ValueError(f"privacy.kind {self.kind!r} needs privacy.noise > 0: without noise epsilon is infinite")
        return self


class FederatedSettings(_Section):
    """One federated run. Sites, learners and the first arrays come from elsewhere."""

    mode: Literal["ffa", "fedit", "fedex", "decoder", "split", "full"] = (
        "ffa"  # what is exchanged and how it is put together
    )
    rounds: Annotated[int, Field(ge=1)] = 3
    steps: Annotated[int, Field(ge=1)] = 60  # local steps of a round
    fraction: Annotated[float, Field(gt=0, le=1)] = 1.0  # of the sites that are there, asked in a round
    min_sites: Annotated[int, Field(ge=1)] = 1  # asked at least; fewer present: the round waits
    deadline_s: Annotated[float, Field(gt=0)] | None = None  # of a round's training; who answers later is counted
    aggregator: Aggregator = "fedavg"
    malicious: Annotated[int, Field(ge=0)] = 1  # sites that a robust rule is to bear
    weights: Literal["examples", "equal"] = "examples"
    secure: SecureSection | None = None
    privacy: PrivacySection = PrivacySection()
    bits: Literal[32, 16, 8] = 32  # per sent number
    evaluate: Literal["none", "sites"] = "none"  # whether sites judge the arrays after each round
    quality: str = "quality"  # the judge's or the sites' number that decides whether more rounds help
    better: Literal["higher", "lower"] = "higher"
    plateau: Annotated[float, Field(ge=0, lt=1)] | None = (
        None  # smallest relative gain that counts as one, such as 0.01
    )
    patience: Annotated[int, Field(ge=1)] = 2  # rounds without such a gain before the run ends
    max_bytes: Annotated[float, Field(gt=0)] | None = None  # up and down together
    seed: Annotated[int, Field(ge=0)] = 0

    @pydantic.model_validator(mode="after")
    def _holds_together(self):
        for reason in _contradictions(self):
            raise ValueError(reason)
        return self


def _contradictions(s: FederatedSettings) -> list[str]:
    """Return what cannot hold together, one sentence each, with the way out."""
    robust, client = s.aggregator != "fedavg", s.privacy.kind == "client"
    found = {
        f"secure aggregation hides single updates, and {s.aggregator!r} has to compare them: choose one of the two": (
            s.secure and robust
        ),
        "mode 'fedex' adds what the product of means misses, and for that the server must see every site's factors, which"
        " secure aggregation hides: use mode 'ffa', whose mean is exact": s.secure and s.mode == "fedex",
        f"secure aggregation sends masked whole numbers of its own width, so bits={s.bits} cannot hold: leave bits at 32": (
            s.secure and s.bits != 32
        ),
        "with privacy.kind 'example' nothing computed from single pictures without noise may leave a site, and"
        " evaluate='sites' sends such numbers: let the server judge, or leave evaluate at 'none'": (
            s.privacy.kind == "example" and s.evaluate == "sites"
        ),
        "privacy.kind 'client' cuts every site's update at the server, and secure aggregation hides it: use"
        " privacy.kind 'example', whose noise is added inside the site": s.secure and client,
        "privacy.kind 'client' hides one of K equal voices; with weights='examples' a large site stands out: set"
        " weights='equal'": client and s.weights != "equal",
        f"privacy.kind 'client' bounds what one site moves a mean by; the bound does not hold for {s.aggregator!r}: use"
        " 'fedavg'": client and robust,
        "mode 'fedex' sends every site's factors on to all others, beside the mean that carries the noise of"
        " privacy.kind 'client': use mode 'ffa'": client and s.mode == "fedex",
        f"mode 'fedex' adds what the mean of products misses to a plain mean, and {s.aggregator!r} is none: use 'fedavg'": (
            robust and s.mode == "fedex"
        ),
    }
    return [reason for reason, holds in found.items() if holds]


# By the sites that are to be borne; the mean bears none.
LEAST_SITES = {
    "fedavg": lambda bad: 1,
    "median": lambda bad: 2 * bad + 1,
    "trimmed-mean": lambda bad: 2 * bad + 1,
    "krum": lambda bad: 2 * bad + 3,
    "multi-krum": lambda bad: 2 * bad + 3,
    "bulyan": lambda bad: 4 * bad + 3,
}


def check_sites(settings: FederatedSettings, sites: int, numbers: int) -> list[str]:
    """Refuse what `sites` sites cannot do, and return warnings about what `numbers` exchanged numbers make useless.

    **Raises** `ConfigError` with the reason.
    """
    asked = asked_sites(settings, sites)
    least = LEAST_SITES[settings.aggregator](settings.malicious)
    if asked < least:
        raise ConfigError(
            f"{settings.aggregator!r} bears {settings.malicious} bad of at least {least} sites a round, got {asked}:"
            " ask more sites, bear fewer, or choose another aggregator",
            param="aggregator",
        )
    if settings.secure and settings.secure.shares > asked:
        raise ConfigError(
            f"secure.shares must be at most the {asked} sites of a round, got {settings.secure.shares}", param="secure"
        )
    if settings.secure and asked * settings.secure.levels > 1 << 32:
        raise ConfigError(
            f"{asked} sites times secure.levels {settings.secure.levels} overflows the sum of 2^32: lower secure.levels",
            param="secure",
        )
    return _warnings(settings.privacy, asked, numbers)


def asked_sites(settings: FederatedSettings, present: int) -> int:
    """Return how many of the present sites a round asks."""
    return min(present, max(settings.min_sites, math.ceil(settings.fraction * present - 1e-9)))


def needed_sites(settings: FederatedSettings) -> int:
    """Return how many sites have to be there for a round to ask as many as its rule needs."""
    asked = max(LEAST_SITES[settings.aggregator](settings.malicious), settings.secure.shares if settings.secure else 1)
    enough = max(asked, settings.min_sites)
    while asked_sites(settings, enough) < asked:
        enough += 1
    return enough


def _warnings(privacy: PrivacySection, asked: int, numbers: int) -> list[str]:
    needed = privacy.noise * math.sqrt(numbers)
    if privacy.kind != "client" or asked >= needed:
        return []
    return [
        f"the noise of privacy.kind 'client' is z·√d/K = {needed / asked:.3g} times the largest update: {asked} sites of"
        f" {numbers} numbers at noise {privacy.noise:g} need at least {math.ceil(needed)} sites to learn anything;"
        " privacy.kind 'example' does not depend on how many sites there are"
    ]


def parse(values: dict) -> FederatedSettings:
    """Return the settings that a table of plain values describes.

    **Raises** `ConfigError` that names the field, for a value out of range or a combination that cannot hold.
    """
    try:
        return FederatedSettings.model_validate(values)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        reason = first["msg"].removeprefix("Value error, ")
        reason += "" if first["type"] == "value_error" else f", got {first['input']!r}"
        raise ConfigError(f"{where}: {reason}" if where else reason, param=where or None) from None
