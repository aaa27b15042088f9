"""Machines of published evaluations, as configurations, and the published facts about the cascade of DiffServe."""

from importlib import resources

import numpy as np

from edgegen.config import Config, parse_config
from edgegen.core.errors import UnknownNameError
from edgegen.data.build import facts

FLEETS = ("diffserve",)
CASCADE = "sdturbo"  # SD-Turbo, then Stable Diffusion 1.5


def packaged_fleet(name: str) -> Config:
    """Return a packaged configuration by name."""
    if name not in FLEETS:
        raise UnknownNameError("fleet", name, FLEETS, param="--fleet")
    text = (resources.files("edgegen.data") / "fleets" / f"{name}.toml").read_text(encoding="utf-8")
    return parse_config(text, source=f"the packaged fleet {name}")


def threshold(share: float, cascade: str = CASCADE) -> float:
    """Return the confidence threshold at which DiffServe's discriminator sends this share on to the heavy model."""
    rows = [row for row in facts("diffserve_forward_fraction") if row["cascade"] == cascade]
    shares, thresholds = (np.array([float(row[key]) for row in rows]) for key in ("forwarded_fraction", "threshold"))
    return float(np.interp(share, shares, thresholds))


def cascade_fid(share: float, cascade: str = CASCADE) -> float:
    """Return the published FID when this share is sent on by the discriminator; a mix has a lower one than both models."""
    rows = [row for row in facts("diffserve_cascade_fid") if row["cascade"] == cascade]
    light, fid = (np.array([float(row[key]) for row in rows]) for key in ("light_ratio", "fid"))
    return float(np.interp(1.0 - share, light, fid))
