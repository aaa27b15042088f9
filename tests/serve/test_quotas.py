"""What a key may take, in simulated time."""

import math

import hypothesis.strategies as st
import pytest
from hypothesis import given

from edgegen.core.errors import InputError
from edgegen.serve.quotas import DAY_S, KEPT_S, MAX_PROMISES, Account, Promises, Quota, QuotaError, whole_s

RATES = st.floats(0.05, 50.0)
BURSTS = st.integers(1, 10)
GAPS = st.lists(st.tuples(st.floats(0.0, 3.0), st.integers(1, 10)), min_size=1, max_size=80)


def drain(account, now_s, pictures=1):
    for _ in range(pictures):
        account.give(now_s)


@given(RATES, BURSTS, GAPS)
def test_no_more_is_let_in_than_rate_and_burst_allow(rate, burst, gaps):
    account, now_s, taken = Account(Quota(rate_per_s=rate, burst=burst)), 0.0, []
    for gap_s, pictures in gaps:
        now_s += gap_s
        try:
            account.take(min(pictures, burst), now_s)
        except QuotaError:
            continue
        taken.append((now_s, min(pictures, burst)))
    for first, (began_s, _) in enumerate(taken):
        for last in range(first, len(taken)):
            count = sum(pictures for _, pictures in taken[first : last + 1])
            assert count <= burst + rate * (taken[last][0] - began_s) + 1e-3


@given(RATES, BURSTS, GAPS)
def test_who_comes_back_when_it_was_told_gets_in(rate, burst, gaps):
    account, now_s = Account(Quota(rate_per_s=rate, burst=burst)), 0.0
    for gap_s, pictures in gaps:
        now_s += gap_s
        pictures = min(pictures, burst)
        try:
            account.take(pictures, now_s)
        except QuotaError as refused:
            now_s += refused.retry_after_s
            account.take(pictures, now_s)


@pytest.mark.parametrize(("rate", "burst", "clients"), [(0.5, 1, 6), (3.0, 2, 12), (20.0, 1, 8), (5.0, 8, 50)])
def test_of_many_who_wait_as_they_are_told_none_is_refused_twice(rate, burst, clients):
    """All clients of one key, and a newcomer at any moment at which nobody is due."""
    account = Account(Quota(rate_per_s=rate, burst=burst))
    due, newcomers = [], 0
    for number in range(clients):
        now_s = 0.01 * number
        try:
            account.take(1, now_s)
        except QuotaError as refused:
            due.append(now_s + refused.retry_after_s)
    assert due, "the test needs refusals"
    moments = sorted([*((at_s, "back") for at_s in due), *((at_s + 0.437, "new") for at_s in range(1, int(max(due))))])
    for now_s, who in moments:
        try:
            account.take(1, now_s)
        except QuotaError:
            assert who == "new", f"told to come at {now_s} s, and refused again"
            newcomers += 1
    if max(due) > 2:
        assert newcomers, "newcomers would have been in the way"


def test_what_is_told_is_not_much_too_late():
    account = Account(Quota(rate_per_s=0.25, burst=1))
    account.take(1, 0.0)
    with pytest.raises(QuotaError) as refused:
        account.take(1, 0.5)
    assert refused.value.retry_after_s == 4


def test_a_refusal_takes_nothing():
    account = Account(Quota(rate_per_s=1.0, burst=2, concurrent=2))
    account.take(2, 0.0)
    for _ in range(5):
        with pytest.raises(QuotaError) as refused:
            account.take(1, 0.0)
    assert refused.value.limit == "concurrent"
    drain(account, 0.5, 2)
    account.take(2, 2.0)


def test_those_who_do_not_come_back_are_forgotten():
    promises = Promises()
    first_s = promises.add(0.0, 3.2)
    assert first_s == 4.0
    assert not promises.let_in(3.0)
    assert promises.let_in(first_s + KEPT_S + 0.1)
    assert not len(promises)


def test_promises_are_bounded_and_rise():
    promises = Promises()
    told = [promises.add(0.01 * number, 0.3 * number) for number in range(20 * MAX_PROMISES)]
    assert len(promises) == MAX_PROMISES
    assert told[:MAX_PROMISES] == sorted(told[:MAX_PROMISES])


def test_pictures_under_way_are_bounded_and_one_that_ends_makes_room():
    account = Account(Quota(concurrent=2))
    account.take(2, 0.0)
    with pytest.raises(QuotaError, match="2 pictures at once"):
        account.take(1, 0.1)
    account.give(1.0, took_s=1.0)
    account.take(1, 1.0)
    with pytest.raises(InputError, match="n = 3"):
        account.take(3, 1.0)


def test_the_told_wait_for_a_picture_of_ones_own_follows_how_long_they_take():
    account = Account(Quota(concurrent=1))
    for number in range(40):
        account.take(1, 10.0 * number)
        account.give(10.0 * number + 7.0, took_s=7.0)
    account.take(1, 1000.0)
    with pytest.raises(QuotaError) as refused:
        account.take(1, 1002.0)
    assert refused.value.retry_after_s == pytest.approx(5.0, abs=0.1)


@pytest.mark.parametrize("limit", ["energy", "cost"])
def test_the_share_of_a_window_can_be_used_up_and_the_next_window_is_told(limit):
    quota = Quota(energy_j=10.0) if limit == "energy" else Quota(cost_usd=10.0)
    account, began_s = Account(quota), 5 * DAY_S
    for number in range(2):
        account.take(1, began_s + number)
        account.give(began_s + number, energy_j=5.0, cost_usd=5.0, took_s=0.5)
    with pytest.raises(QuotaError) as refused:
        account.take(1, began_s + 3600.0)
    assert refused.value.limit == limit
    assert refused.value.retry_after_s == DAY_S - 3600.0
    account.take(1, began_s + 3600.0 + refused.value.retry_after_s)


def test_pictures_under_way_count_as_much_as_the_others_took():
    account = Account(Quota(energy_j=99.9))
    for _ in range(60):  # the mean is 1 J
        account.take(1, 0.0)
        account.give(0.0, energy_j=1.0, took_s=0.1)
    account.take(39, 1.0)
    account.take(1, 1.0)
    with pytest.raises(QuotaError, match=r"99\.9 J"):
        account.take(1, 1.0)


def test_what_was_taken_before_a_restart_counts():
    account = Account(Quota(cost_usd=1.0))
    account.book(3, 0.0, 0.4)
    account.book(3, 0.0, 0.7)
    account.book(2, 0.0, 9.0)  # of yesterday
    with pytest.raises(QuotaError):
        account.take(1, 3 * DAY_S + 1.0)
    account.take(1, 4 * DAY_S)


@pytest.mark.parametrize(
    "wrong", [{"rate_per_s": 0.0}, {"energy_j": -1.0}, {"concurrent": 0.5}, {"cost_usd": math.nan}]
)
def test_a_quota_that_lets_nobody_in_is_refused(wrong):
    with pytest.raises(InputError):
        Quota(**wrong)


def test_a_wait_is_never_told_too_short():
    assert [whole_s(seconds) for seconds in (-1.0, 0.0, 0.2, 1.0, 1.2, 2.0000001)] == [1, 1, 1, 1, 2, 3]
