"""Where sites are, for the radio model: drawn around a base station. All figures here are our choice (docs/adr/0020)."""

import numpy as np

from edgegen.physics.channel import path_gain
from edgegen.tune.radio.bands import EqualShares
from edgegen.tune.radio.cost import Round, Sites, round_cost, work
from edgegen.tune.radio.sizes import Sizes, exchange

BAND_HZ, TRANSMIT_W, SERVER_W = 20e6, 0.2, 1.0
MOST_W, MOST_FLOPS = 40.0, 10e12  # training at 10 TFLOP/s takes 40 W, and power goes with the cube of the speed
FLOPS, DISTANCE_M, START_S = (4e12, 20e12), (50.0, 350.0), (0.0, 2.0)  # least and most


def draw_places(samples: np.ndarray, rng: np.random.Generator) -> Sites:
    """Draw sites with these numbers of pictures float[K]: 50 to 350 m away, 4 to 20 TFLOP/s, one band of 20 MHz."""
    count = len(samples)
    return Sites(
        samples=samples,
        flops=rng.uniform(*FLOPS, count),
        kappa=np.full(count, MOST_W / MOST_FLOPS**3),
        uplink_hz=np.full(count, BAND_HZ),
        downlink_hz=np.full(count, BAND_HZ),
        transmit_w=np.full(count, TRANSMIT_W),
        server_w=np.full(count, SERVER_W),
        gain=path_gain(rng.uniform(*DISTANCE_M, count)),
        start_s=rng.uniform(*START_S, count),
    )


def usual_round(
    sites: Sites, sizes: Sizes, mode: str, *, rank: int, bits: float, steps: int, batch: int
) -> tuple[float, Round]:
    """Return the bytes that a site sends and gets, and the cost of a round with everybody and equal shares of the band."""
    exchanged = exchange(sizes, mode, rank=rank, sites=len(sites))
    duty = work(sizes, exchanged, bits=bits, steps=steps, batch=batch)
    shares = EqualShares().shares(sites, duty, np.ones(len(sites), dtype=bool))
    return (duty.up_bits + duty.down_bits) / 8, round_cost(sites, duty, shares)
