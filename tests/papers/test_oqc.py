"""Offloading and quality control: the claims hold. The planner itself is tested in tests/plan/certified."""

from edgegen.papers import oqc
from edgegen.plan.certified.baselines import BASELINES


def test_the_claims_hold():
    bars = oqc.claims(lambda line: None, instances=6)
    assert [bar.bar for bar in bars if bar.ok is False] == []
    assert len(bars) == len(BASELINES) + 2  # the alternating method, and the gap to the optimum
