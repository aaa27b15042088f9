"""The planner beside a cascade after DiffServe, in virtual time on its profiles and its trace shape."""

from collections.abc import Callable

import numpy as np

from edgegen.core.result import Bar
from edgegen.registry import DEFAULT

OURS, CASCADE = DEFAULT, "threshold-cascade"
DEADLINE_S = 5.0  # the paper's limit for this cascade, from memory
RATES_HZ = (4.0, 8.0, 16.0, 24.0, 32.0)
SECONDS, SEEDS = 40.0, 3
SHAPE_HZ, SHAPE_PIECE_S = (4.0, 32.0), 0.5  # rates of its trace 4to32; there every piece lasts a second
FIGURES = ("attainment", "quality_made", "quality_in_time")


def cascade_bars(progress: Callable[[str], None]) -> list[Bar]:
    """Compare at constant rates and on the trace; takes several minutes."""
    import dataclasses

    from edgegen.assemble import build_fleet
    from edgegen.dispatch.catalog import Catalog
    from edgegen.experiments.arrivals import Mix
    from edgegen.experiments.fleets_of_papers import packaged_fleet
    from edgegen.experiments.replaying import Traffic
    from edgegen.experiments.traces import open_arrivals
    from edgegen.physics.arrivals import Counted, Poisson

    config = packaged_fleet("diffserve")
    catalog = Catalog(build_fleet(config))
    mix = Mix(deadlines=((1.0, DEADLINE_S, DEADLINE_S),), floored=0.0, metered=0.0)
    shape = open_arrivals("azure-functions")
    assert isinstance(shape, Counted)
    shape = dataclasses.replace(shape.between(*SHAPE_HZ), piece_s=SHAPE_PIECE_S)
    bars = []
    for rate_hz in RATES_HZ:
        progress(f"16 A100, {rate_hz:g}/s, {SEEDS} seeds, ours and the cascade")
        # The cascade is told the true rate in one run, reads it from what waits in another, and the better one counts.
        rivals = (CASCADE, f"{CASCADE}:rate_hz={rate_hz:g}")
        bars += _beside(catalog, Traffic(config, Poisson(rate_hz), SECONDS, mix), f"{rate_hz:g}/s", rivals)
    low, high = SHAPE_HZ
    progress(f"16 A100, the shape of Azure Functions from {low:g} to {high:g}/s, {SEEDS} seeds")
    label = f"trace shape {low:g} to {high:g}/s"
    return bars + _beside(catalog, Traffic(config, shape, shape.length_s, mix), label, (CASCADE,))


def _beside(catalog, traffic, label: str, rivals: tuple[str, ...]) -> list[Bar]:
    from edgegen.experiments.replaying import Replay

    found: dict[str, list[dict]] = {name: [] for name in (OURS, *rivals)}
    for row in Replay(catalog, traffic, list(found), range(SEEDS)).rows():
        found[row["policy"]].append(row)
    rival = max(rivals, key=lambda name: float(np.mean([row["quality_in_time"] for row in found[name]])))
    return compared(label, rival, found[OURS], found[rival])


def compared(label: str, rival: str, ours: list[dict], theirs: list[dict]) -> list[Bar]:
    """Goals: at least as many in time, at no lower quality of what is made; so at least as much quality in time."""
    from edgegen.experiments.fleets_of_papers import cascade_fid, threshold

    bars = []
    for figure in FIGURES:
        mine, other = (np.array([row[figure] for row in rows]) for rows in (ours, theirs))
        name = f"{label}: {figure.replace('_', ' ')} over that of the cascade ({other.mean():.4f})"
        bars.append(Bar.of_mean(name, np.round(mine / other, 9), least=1.0, unit="x"))
    share = heavy_share(float(np.mean([row["quality_made"] for row in theirs])))
    bars.append(Bar.report(f"{label}: share that the cascade sends on ({rival})", share, n=len(theirs)))
    bars.append(Bar.report(f"{label}: its threshold in the published table", threshold(share), n=len(theirs)))
    bars.append(Bar.report(f"{label}: its FID in the published table", cascade_fid(share), n=len(theirs)))
    mine_share = heavy_share(float(np.mean([row["quality_made"] for row in ours])))
    bars.append(Bar.report(f"{label}: share of ours on the heavy model", mine_share, n=len(ours)))
    return bars


def heavy_share(quality: float) -> float:
    """Return the share of heavy pictures in a mean quality of what was made."""
    from edgegen.core.profile import load_profile

    light = float(load_profile("sd-turbo-a100").quality_at("basic", [1])[0])
    heavy = float(load_profile("sd-1.5-a100").quality_at("basic", [50])[0])
    return float(np.clip((quality - light) / (heavy - light), 0.0, 1.0))
