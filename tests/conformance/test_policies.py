"""Every policy x every property that a policy promises."""

import equinox as eqx
import jax
import numpy as np
import pytest

from conformance.states import CASES, padded, permuted
from edgegen.core.compose import Fallback, Mixture, Repaired, Shadow, TwoTimescale
from edgegen.core.decision import HOLD, REJECT, TASK_COLUMNS, Decision
from edgegen.core.policy import HostPolicy
from edgegen.core.rules import repair, resident_violations, violated_rows, violations
from edgegen.physics.predict import limit_violations, predict
from edgegen.plan.rules import AllLocal, FixedSteps, GreedyCost, RoundRobin
from edgegen.registry import load_policy, policy_names

KEY = jax.random.key(3)


def garbage(state, key):
    """Decide at random: most rows break some rule."""
    del key
    rng = np.random.default_rng(int(state.tasks.live.sum()))
    count = state.task_count
    return Decision.hold(state).replace(
        node=rng.integers(-3, state.node_count + 2, count).astype(np.int32),
        model=rng.integers(-2, state.model_count + 2, count).astype(np.int32),
        steps=rng.integers(-1, 60, count).astype(np.int32),
        uplink_share=rng.normal(0.5, 1, count),
        downlink_share=np.where(rng.random(count) < 0.2, np.nan, rng.random(count)),
        compute_share=rng.uniform(0, 2, count),
        resident=rng.random(state.nodes.resident.shape) < 0.5,
    )


POLICIES = {name: load_policy(name) for name in policy_names()} | {
    "fixed-steps-4": load_policy("fixed-steps:steps=4"),
    "garbage": HostPolicy(garbage),
    "repaired": Repaired(HostPolicy(garbage)),
    "fallback": Fallback(HostPolicy(garbage), AllLocal()),
    "shadow": Shadow(RoundRobin(), GreedyCost()),
    "mixture": Mixture((AllLocal(), GreedyCost()), (1.0, 3.0)),
    "two-timescale": TwoTimescale(AllLocal(), GreedyCost(), period_s=10.0, tick_s=1.0),
}
DRAWS_PER_ROW = {"garbage", "repaired", "fallback"}  # random per row: rows are not exchangeable
PLANNERS = ("planner", "certified")
IN_TURN = ("all-light", "all-heavy", "least-loaded", "earliest-deadline-first", "threshold-cascade", "batch-denoising")
JITTED = [name for name in policy_names() if name not in (*PLANNERS, *IN_TURN)]  # the others are host code

every_policy = pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES.keys())
every_state = pytest.mark.parametrize("case", CASES)


def same(left: Decision, right: Decision, rows=slice(None), other=slice(None)) -> None:
    for name in TASK_COLUMNS:
        np.testing.assert_allclose(
            np.asarray(getattr(left, name))[rows], np.asarray(getattr(right, name))[other], rtol=1e-6, err_msg=name
        )


@every_policy
@every_state
def test_a_repaired_decision_breaks_no_rule(policy, case):
    state = CASES[case]()
    decision = repair(state, policy.decide(state, key=KEY))
    assert {name: rows.any() for name, rows in violations(state, decision).items() if rows.any()} == {}
    assert not resident_violations(state, decision).any()


@every_policy
@every_state
def test_repair_is_idempotent_and_touches_only_offending_rows(policy, case):
    state = CASES[case]()
    decision = policy.decide(state, key=KEY)
    once = repair(state, decision)
    same(once, repair(state, once))
    oversubscribed = violations(state, once.replace(**{n: getattr(decision, n) for n in TASK_COLUMNS}))
    untouched = ~violated_rows(state, decision) & ~oversubscribed["node_oversubscribed"]
    same(once, decision, untouched, untouched)


@pytest.mark.parametrize("name", [n for n in POLICIES if n != "garbage"])
@every_state
def test_padding_may_hold_anything(name, case):
    policy, state = POLICIES[name], CASES[case]()
    wide = padded(state, np.nan)
    rows = slice(0, state.task_count)
    expected = policy.decide(padded(state, 1.0), key=KEY)
    same(policy.decide(wide, key=KEY), expected)
    if name not in DRAWS_PER_ROW:
        same(expected, policy.decide(state, key=KEY), rows)
    assert (np.asarray(expected.node)[state.task_count :] == HOLD).all()


@pytest.mark.parametrize("name", [n for n in POLICIES if n not in DRAWS_PER_ROW])
@every_state
def test_permuting_tasks_permutes_the_decision(name, case):
    state = CASES[case]()
    order = np.random.default_rng(5).permutation(state.task_count)
    straight = POLICIES[name].decide(state, key=KEY)
    same(POLICIES[name].decide(permuted(state, order), key=KEY), straight, slice(None), order)


@pytest.mark.parametrize("name", JITTED)
def test_rules_agree_under_jit_and_compile_once_per_padded_shape(name):
    traces = []

    @eqx.filter_jit
    def decide(state):
        traces.append(1)
        return POLICIES[name].decide(state)

    for case in ("fleet-0", "fleet-1", "fleet-2"):
        state = padded(CASES[case](), np.nan)
        same(decide(jax.tree.map(jax.numpy.asarray, state)), POLICIES[name].decide(state))
    assert len(traces) == 1


@pytest.mark.parametrize("case", [c for c in CASES if c.startswith("fleet")])
def test_planners_break_no_limit_and_cost_no_more_than_any_rule(case):
    from edgegen.physics.objective import task_costs

    state = CASES[case]()
    costs = {}
    for name, policy in POLICIES.items():
        decision = repair(state, policy.decide(state, key=KEY))
        ledger = predict(state, decision)
        kept = decision.placed & ~ledger.late & ~ledger.infeasible
        costs[name] = float(task_costs(state, ledger, kept).sum())
        if name in PLANNERS:
            broken, waiting = limit_violations(state, ledger), state.tasks.done_steps < 0
            assert not any((rows & decision.placed & waiting).any() for rows in broken.values())
            assert (decision.placed | waiting | ~state.tasks.live).all()  # what has started goes on
    assert costs["certified"] <= min(costs.values()) + 1e-9, costs
    assert costs["planner"] <= min(cost for name, cost in costs.items() if name != "certified") + 1e-9, costs


@pytest.mark.parametrize("planner", PLANNERS)
@every_state
def test_planners_reject_only_what_nothing_could_serve(case, planner):
    state = CASES[case]()
    decision = POLICIES[planner].decide(state)
    for row in np.flatnonzero(decision.node == REJECT):
        alone = eqx.tree_at(lambda s: s.tasks.live, state, np.arange(state.task_count) == row)
        for name in policy_names():
            ledger = predict(alone, POLICIES[name].decide(alone))
            assert ledger.late[row] or ledger.infeasible[row] or POLICIES[name].decide(alone).node[row] < 0


def test_a_shadow_candidate_is_asked_but_not_obeyed():
    state = CASES["fleet-0"]()
    shadow = POLICIES["shadow"]
    same(shadow.decide(state), RoundRobin().decide(state))
    same(shadow.consider(state), GreedyCost().decide(state))


def test_a_slow_policy_moves_models_only_when_its_period_begins():
    def keep_nothing(state, key):
        del key
        return Decision.hold(state).replace(resident=np.zeros_like(state.nodes.resident))

    policy = TwoTimescale(HostPolicy(keep_nothing), FixedSteps(), period_s=10.0, tick_s=1.0)
    state = CASES["fleet-0"]()
    at = lambda clock: policy.decide(eqx.tree_at(lambda s: s.clock_s, state, np.float64(clock)))  # noqa: E731
    assert not at(20.5).resident.any()
    np.testing.assert_array_equal(at(25.0).resident, state.nodes.resident)


@pytest.mark.parametrize("case", ["fleet-0", "cellular-0"])
def test_repair_and_prediction_agree_under_jit(case):
    state = padded(CASES[case](), 1.0)
    decision = garbage(state, None)
    mended = repair(state, decision)
    there = jax.tree.map(jax.numpy.asarray, (state, decision))
    traced = eqx.filter_jit(repair)(*there)
    same(traced, mended)
    expected = predict(state, mended)
    found = eqx.filter_jit(predict)(there[0], traced)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9), found, expected)
