"""Split denoising: a server does the first steps of a picture, the device that asked does the last ones.

For N steps and a handover after h of them:

    h = 0         the device does everything, nothing is sent
    0 < h < N     prompt up, h steps there, the half-made picture down, N - h steps and the decoder here
    h = N         prompt up, everything there, the finished picture down

Both machines have the same weights. What is outside of the steps (text encoder, decoder) counts in full on every machine that takes part,
as profiles do not tell the two apart. Sending costs the device energy, receiving none; the machines are idle otherwise.
Between 1 and N - 1 time and energy are linear in h: without limits one of h = 0, 1, N - 1, N is best, and the steps between matter
where a deadline or a battery binds. To split the chain is the idea of CollaFuse (arXiv:2406.14429); the model is ours.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from edgegen.core.errors import InfeasibleError, InputError
from edgegen.physics.objective import NO_BUDGET_J, NO_DEADLINE_S


@dataclass(frozen=True)
class Machine:
    """What one picture takes on it."""

    step_s: float
    fixed_s: float  # outside of the steps
    power_w: float  # while it works


@dataclass(frozen=True)
class Link:
    """Between the two."""

    uplink_bps: float
    downlink_bps: float
    rtt_s: float = 0.0
    transmit_w: float = 0.0  # of the device while it sends


@dataclass(frozen=True)
class Payload:
    """What is sent, in bits."""

    prompt: float
    handover: float  # a half-made picture: latents, and what the sampler remembers
    picture: float


@dataclass(frozen=True)
class Wanted:
    """Limits, and what seconds and joules are worth against them."""

    deadline_s: float = math.inf
    energy_j: float = math.inf  # from the device
    time_weight: float = 0.3
    energy_weight: float = 0.2
    own_steps: int = 0  # that the device does at least, so that nobody else ever has the finished picture


@dataclass(frozen=True)
class Row:
    """A handover after so many steps, and what it costs."""

    handover: int
    upload_s: float
    server_s: float
    sent_bits: float  # down
    download_s: float
    device_s: float
    device_energy_j: float
    server_energy_j: float
    cost: float  # weighted time and energy against the limits
    fits: bool  # what is wanted is kept

    @property
    def total_s(self) -> float:
        """From the request to the picture on the device."""
        return self.upload_s + self.server_s + self.download_s + self.device_s

    def to_dict(self) -> dict:
        """Return plain data for JSON."""
        return asdict(self) | {"total_s": self.total_s}


def table(server: Machine, device: Machine, link: Link, payload: Payload, *, steps: int, wanted: Wanted) -> list[Row]:
    """Return one row for each handover after 0 to `steps` steps."""
    if steps < 1:
        raise InputError(f"steps must be >= 1, got {steps}", param="steps")
    return [_row(server, device, link, payload, steps, wanted, handover) for handover in range(steps + 1)]


def best(rows: Sequence[Row]) -> Row:
    """Return the row of least cost that keeps what is wanted; of equals the one with most steps on the device.

    **Raises** `InfeasibleError` with the row of least cost as its offer, if none keeps them.
    """
    fitting = [row for row in rows if row.fits]
    if not fitting:
        nearest = min(rows, key=lambda row: row.cost)
        raise InfeasibleError(
            f"no handover keeps what is wanted; after {nearest.handover} steps it would take {nearest.total_s:.3g} s and"
            f" {nearest.device_energy_j:.3g} J of the device",
            offer=nearest.to_dict(),
        )
    return min(fitting, key=lambda row: row.cost)


def _row(
    server: Machine, device: Machine, link: Link, payload: Payload, steps: int, wanted: Wanted, handover: int
) -> Row:
    there, here = handover > 0, handover < steps
    sent_bits = (payload.handover if here else payload.picture) if there else 0.0
    upload_s = payload.prompt / link.uplink_bps + link.rtt_s / 2 if there else 0.0
    download_s = sent_bits / link.downlink_bps + link.rtt_s / 2 if there else 0.0
    server_s = server.fixed_s + handover * server.step_s if there else 0.0
    device_s = device.fixed_s + (steps - handover) * device.step_s if here else 0.0
    energy_j = link.transmit_w * upload_s + device.power_w * device_s
    total_s = upload_s + server_s + download_s + device_s
    return Row(
        handover=handover,
        upload_s=upload_s,
        server_s=server_s,
        sent_bits=sent_bits,
        download_s=download_s,
        device_s=device_s,
        device_energy_j=energy_j,
        server_energy_j=server.power_w * server_s,
        cost=wanted.time_weight * total_s / _scale(wanted.deadline_s, NO_DEADLINE_S)
        + wanted.energy_weight * energy_j / _scale(wanted.energy_j, NO_BUDGET_J),
        fits=total_s <= wanted.deadline_s and energy_j <= wanted.energy_j and steps - handover >= wanted.own_steps,
    )


def _scale(limit: float, otherwise: float) -> float:
    return limit if 0 < limit < math.inf else otherwise
