"""Adapters: what is averaged, what that average misses, and what merging gives."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="fine-tuning needs torch")
pytest.importorskip("peft", reason="adapters need peft")

from torch import nn  # noqa: E402

from edgegen.core.errors import InputError  # noqa: E402
from edgegen.tune import adapters  # noqa: E402
from edgegen.tune.adapters import Lora  # noqa: E402

WEIGHTS = (0.5, 0.3, 0.2)


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.SiLU(), nn.Flatten(), nn.Linear(4 * 16, 8), nn.SiLU(), nn.Linear(8, 5)
    )


def pictures(count: int = 6) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(1).standard_normal((count, 3, 4, 4), np.float32))


def trained(mode: str, seed: int, scale: float = 1.0) -> dict[str, np.ndarray]:
    """An adapter that a few steps on random targets have moved."""
    wrapped = adapters.wrap(network(), Lora(rank=2, scale=scale, mode=mode))
    target = torch.from_numpy(np.random.default_rng(seed).standard_normal((6, 5), np.float32))
    optimiser = torch.optim.Adam([one for one in wrapped.parameters() if one.requires_grad], lr=0.05)
    for _ in range(10):
        loss = (wrapped(pictures()) - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return adapters.get(wrapped, "fedit")


@pytest.mark.parametrize("mode", adapters.MODES)
def test_a_fresh_adapter_changes_no_answer(mode):
    plain = network()
    wrapped = adapters.wrap(network(), Lora(mode=mode))
    torch.testing.assert_close(wrapped(pictures()), plain(pictures()), rtol=0, atol=0)


def test_every_site_draws_the_same_a_and_another_seed_another_one():
    first, second, other = (
        adapters.get(adapters.wrap(network(), Lora(seed=seed)), "fedit") for seed in (3, 3, 4)
    )  # fmt: skip
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])
        if name.endswith("lora_A"):
            assert not np.allclose(first[name], other[name])


@pytest.mark.parametrize("mode", adapters.MODES)
def test_only_what_is_sent_is_trained(mode):
    wrapped = adapters.wrap(network(), Lora(mode=mode))
    trains = sum(one.numel() for one in wrapped.parameters() if one.requires_grad)
    assert trains == sum(array.size for array in adapters.get(wrapped, mode).values())


def test_ffa_sends_half_of_what_the_other_modes_send_or_less_and_completes_the_rest():
    lora = Lora(rank=2)
    wrapped = adapters.wrap(network(), lora)
    both, sent = adapters.get(wrapped, "fedit"), adapters.get(wrapped, "ffa")
    assert set(sent) == {name for name in both if name.endswith("lora_B")}
    again = adapters.complete(sent, adapters.shapes_of(wrapped), lora)
    assert all(np.array_equal(again[name], both[name]) for name in both)


def mean(sent, weights=WEIGHTS):
    return {name: sum(w * one[name] for w, one in zip(weights, sent, strict=True)) for name in sent[0]}


def true_mean(sent, scale):
    each = [adapters.deltas(one, scale) for one in sent]
    return mean(each)


def test_the_average_of_ffa_adapters_is_the_adapter_of_the_averages():
    sent = [trained("ffa", seed, scale=2.0) for seed in range(3)]
    merged, true = adapters.deltas(mean(sent), 2.0), true_mean(sent, 2.0)
    for layer in true:
        np.testing.assert_allclose(merged[layer], true[layer], atol=1e-6)
    assert adapters.missed(sent, WEIGHTS, 2.0)[1] < 1e-6


def test_averaging_a_and_b_separately_misses_something_unless_all_a_are_equal():
    sent = [trained("fedit", seed) for seed in range(3)]
    lacking, gap = adapters.missed(sent, WEIGHTS, 1.0)
    assert gap > 0.01
    merged, true = adapters.deltas(mean(sent), 1.0), true_mean(sent, 1.0)
    for layer in true:
        np.testing.assert_allclose(merged[layer] + lacking[layer], true[layer], atol=1e-5)
    alike = [one | {name: sent[0][name] for name in one if name.endswith("lora_A")} for one in sent]
    assert adapters.missed(alike, WEIGHTS, 1.0)[1] < 1e-6


def test_fedex_answers_as_the_ideal_average_would():
    sent = [trained("fedit", seed) for seed in range(3)]
    lacking, _ = adapters.missed(sent, WEIGHTS, 1.0)
    tuned = adapters.wrap(network(), Lora(rank=2, mode="fedex"))
    adapters.put(tuned, mean(sent))
    adapters.add_to_base(tuned, lacking)
    ideal = network()
    with torch.no_grad():
        for layer, change in true_mean(sent, 1.0).items():
            ideal.get_submodule(layer).weight += torch.from_numpy(change)
    torch.testing.assert_close(tuned(pictures()), ideal(pictures()), rtol=0, atol=1e-5)


@pytest.mark.parametrize("mode", adapters.MODES)
def test_merging_changes_no_answer_and_leaves_no_adapter(mode):
    wrapped = adapters.wrap(network(), Lora(rank=2, mode=mode))
    adapters.put(wrapped, trained(mode, 7))
    before = wrapped(pictures())
    merged = adapters.merge(wrapped)
    torch.testing.assert_close(merged(pictures()), before, rtol=0, atol=1e-6)
    assert [type(layer) for layer in merged] == [type(layer) for layer in network()]


def test_arrays_of_another_network_are_refused_by_name():
    wrapped = adapters.wrap(network(), Lora(rank=2))
    with pytest.raises(InputError, match=r"no array named 'other\.lora_B'"):
        adapters.put(wrapped, {"other.lora_B": np.zeros((1, 1), np.float32)})
    with pytest.raises(InputError, match=r"3\.lora_B is of shape \(8, 3\); expected \(8, 2\)"):
        adapters.put(wrapped, {"3.lora_B": np.zeros((8, 3), np.float32)})


@pytest.mark.parametrize(("wrong", "said"), [({"rank": 0}, "rank must be >= 1, got 0"), ({"mode": "ffb"}, "ffa")])
def test_adapters_that_cannot_be_are_refused(wrong, said):
    with pytest.raises(Exception, match=said):
        Lora(**wrong)


def test_a_network_without_such_layers_is_refused():
    with pytest.raises(InputError, match="attn"):
        adapters.wrap(network(), Lora(layers=("attn",)))
