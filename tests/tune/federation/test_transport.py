"""Numbers on their way: right on average, never off by more than a scale, and weighed as they are sent."""

import numpy as np
import pytest

pytest.importorskip("flwr", reason="pip install -e .[federated]")

from flwr.app import ConfigRecord, Message, MessageType, RecordDict

from edgegen.core.errors import InputError
from edgegen.tune.federation.in_process import run_in_process, task_identity
from edgegen.tune.federation.settings import FederatedSettings
from edgegen.tune.federation.transport import carried, coding, decode, difference, encode, received, total, weigh
from tune import toys


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return {
        "wide": rng.normal(size=(30, 40)).astype(np.float32),
        "small": (1e-6 * rng.normal(size=50)).astype(np.float32),
        "zeros": np.zeros(3, np.float32),
        "one": np.asarray(-2.5, np.float32),
        "none": np.zeros((0, 4), np.float32),
    }


@pytest.mark.parametrize("bits", [32, 16, 8])
def test_names_order_and_shapes_survive(arrays, bits):
    back = decode(encode(arrays, bits, np.random.default_rng(1)))
    assert list(back) == list(arrays)
    assert {n: (v.shape, v.dtype) for n, v in back.items()} == {n: (v.shape, v.dtype) for n, v in arrays.items()}


def test_32_bits_are_exact(arrays):
    back = decode(encode(arrays, 32, np.random.default_rng(1)))
    for name, values in arrays.items():
        np.testing.assert_array_equal(back[name], values)


@pytest.mark.parametrize("bits", [16, 8])
def test_each_array_has_its_own_scale_and_no_number_is_off_by_more(arrays, bits):
    back = decode(encode(arrays, bits, np.random.default_rng(1)))
    for name, values in arrays.items():
        scale = np.abs(values).max(initial=0.0) / (2 ** (bits - 1) - 1)
        np.testing.assert_allclose(back[name], values, rtol=0, atol=1.001 * scale)


def test_rounding_is_right_on_average():
    exact = {"a": np.array([0.3, -0.7, 100.0], np.float32)}  # the scale of 8 bits is 0.79
    rng = np.random.default_rng(2)
    draws = np.stack([decode(encode(exact, 8, rng))["a"] for _ in range(4000)])
    error = 5 * 0.79 / 2 / np.sqrt(4000)
    np.testing.assert_allclose(draws.mean(axis=0), exact["a"], atol=error)
    assert len(np.unique(draws[:, 0])) == 2  # and not the nearest each time


def test_numbers_that_are_not_finite_are_refused():
    with pytest.raises(InputError, match="'a' holds numbers that are not finite"):
        encode({"a": np.array([1.0, np.inf])}, 32, np.random.default_rng(0))


def test_a_difference_and_what_it_is_from_give_the_arrays(arrays):
    after = {name: values + 1 for name, values in arrays.items()}
    back = total(difference(after, arrays), arrays)
    for name in arrays:
        np.testing.assert_allclose(back[name], after[name], atol=1e-6)
    with pytest.raises(InputError, match="'new'"):
        difference({"new": np.zeros(2)}, arrays)


def message(arrays, bits: int) -> Message:
    coded = encode(arrays, bits, np.random.default_rng(3))
    content = RecordDict({"arrays": coded.record, "config": ConfigRecord(coding(coded))})
    return Message(content, dst_node_id=7, message_type=MessageType.TRAIN)


@pytest.mark.parametrize("bits", [32, 16, 8])
def test_what_arrives_is_what_was_sent_and_shares_nothing_with_it(arrays, bits):
    with task_identity():
        sent = message(arrays, bits)
        arrived = carried(sent, "m1")
    assert arrived.metadata.message_id == "m1"
    assert arrived.metadata.dst_node_id == 7
    assert arrived.content is not sent.content
    found = received(arrived.content.array_records["arrays"], arrived.content.config_records["config"])
    wanted = received(sent.content.array_records["arrays"], sent.content.config_records["config"])
    for name in arrays:
        np.testing.assert_array_equal(found[name], wanted[name])
    arrived.content.array_records["arrays"].clear()
    assert len(sent.content.array_records["arrays"]) == len(arrays)


@pytest.mark.parametrize("bits", [32, 16, 8])
def test_a_message_weighs_its_numbers_and_what_goes_with_them(arrays, bits):
    with task_identity():
        traffic = weigh(message(arrays, bits))
    assert traffic.payload_bytes == sum(values.size for values in arrays.values()) * bits // 8
    assert traffic.payload_bytes < traffic.wire_bytes < traffic.payload_bytes + 1000 * len(arrays)


def test_of_a_large_update_nearly_all_is_numbers():
    with task_identity():
        traffic = weigh(message({"a": np.ones(100_000, np.float32)}, 32))
    assert traffic.wire_bytes < 1.01 * traffic.payload_bytes


@pytest.mark.parametrize(("bits", "tolerance"), [(16, 1e-4), (8, 2e-2)])
def test_a_run_with_fewer_bits_ends_near_that_with_32_and_sends_less(bits, tolerance):
    def run(width):
        settings = FederatedSettings(rounds=8, steps=40, bits=width)
        return run_in_process(toys.learners(4).__getitem__, 4, settings, toys.start())

    full, small = run(32), run(bits)
    whole = toys.everything(4)
    assert abs(whole.loss(small.arrays) - whole.loss(full.arrays)) <= tolerance * whole.loss(toys.start())
    assert small.history[0].up_payload_bytes * 32 == full.history[0].up_payload_bytes * bits
    assert small.history[0].down_payload_bytes * 32 == full.history[0].down_payload_bytes * bits
