"""A short walk through what `edgegen bench chaos` does at length: real gateways, killed for real, on both databases."""

import asyncio

from edgegen.bench._chaos import Plan, run_chaos
from edgegen.bench.chaos import bars


def test_what_was_accepted_ends_once_whoever_is_killed(database_url, tmp_path):
    plan = Plan(seed=11, jobs=24, kills=2, longest_gap_s=1.5, patience_s=40.0, kinds=("both", "worker"))
    outcome = asyncio.run(run_chaos(plan, tmp_path, database_url, lambda line: None))
    assert outcome.trouble == []
    assert (outcome.accepted, outcome.lost, outcome.doubled, outcome.hung) == (24, 0, 0, 0)
    assert outcome.ends["done"] >= 15
    assert outcome.kills.total() == 2
    assert outcome.taken_over >= 1, "the kill of the gateway met work under way"
    assert outcome.recovery_s[0] > 0
    assert [bar.ok for bar in bars([outcome])[1:4]] == [True] * 3
