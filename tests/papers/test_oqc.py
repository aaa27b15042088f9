"""Offloading and quality control: the claims hold. The planner itself is tested in tests/plan/certified."""

from edgegen.papers import oqc


def test_the_claims_hold():
    bars = oqc.claims(lambda line: None, instances=6)
    assert [bar.bar for bar in bars if bar.ok is False] == []
    assert len(bars) == 6
