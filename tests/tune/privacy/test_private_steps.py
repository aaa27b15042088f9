"""Private steps do what their accountant assumes: one example's share is bounded, the noise is as large as said."""

import math
from functools import partial

import pytest

pytest.importorskip("torch")
pytest.importorskip("opacus")

import torch

from edgegen.core.errors import InputError
from edgegen.tune.privacy.accounting import BudgetSpentError, Release, epsilon
from edgegen.tune.privacy.diffusion_losses import DrawnLosses, v_losses
from edgegen.tune.privacy.leakage import fresh_adapter
from edgegen.tune.privacy.private_steps import PrivateTrainer
from edgegen.tune.privacy.promise import CLIENT, EXAMPLE, Privacy

pytestmark = pytest.mark.torch

ALMOST_NONE = Privacy(EXAMPLE, noise=1e-9, clip=1.0, max_epsilon=1e30)  # noise too small to see
SGD = partial(torch.optim.SGD, lr=1.0)


class Small(torch.nn.Module):
    """Two layers, the first of them frozen, as a base with an adapter is."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.base, self.adapter = torch.nn.Linear(4, 8), torch.nn.Linear(8, 3, bias=False)
        self.base.requires_grad_(False)

    def forward(self, x):
        return self.adapter(torch.tanh(self.base(x)))


def data(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    x, y = torch.randn(count, 4, generator=generator), torch.randn(count, 3, generator=generator)
    y[0] *= 1e4  # an example that is like no other
    return x, y


def losses_of(module):
    return lambda x, y: (module(x) - y).square().mean(1)


def trained(privacy=ALMOST_NONE, *, count=12, batch=12, steps=1, take=None, **more) -> torch.Tensor:
    """The adapter after some steps on (the first `take` of) the data, less what it was."""
    module = Small()
    before = module.adapter.weight.detach().clone()
    examples = tuple(tensor[:take] for tensor in data(count))
    more = {"loss_of": losses_of(module), "optimiser": SGD, "seed": 3} | more
    with PrivateTrainer(module, privacy, examples, batch=batch, **more) as trainer:
        for _ in range(steps):
            trainer.step()
    return module.adapter.weight.detach() - before


# -------------------------------------------------------------------------------------------------------- sensitivity


def test_with_a_wide_clip_and_no_noise_to_speak_of_a_step_is_a_plain_step():
    wide = Privacy(EXAMPLE, noise=1e-15, clip=1e6, max_epsilon=1e40)
    module = Small()
    losses_of(module)(*data(12)).mean().backward()
    torch.testing.assert_close(trained(wide), -module.adapter.weight.grad, rtol=1e-4, atol=1e-3)


def moved_by_everybody(examples: tuple[torch.Tensor, ...], draws: int) -> torch.Tensor:
    """One step in which every example is drawn, divided by 11 whoever is there."""
    module = Small()
    before = module.adapter.weight.detach().clone()
    with PrivateTrainer(
        module, ALMOST_NONE, examples, batch=11, loss_of=losses_of(module), optimiser=SGD, draws=draws, seed=3
    ) as trainer:
        trainer.sample_rate = 1.0
        trainer.step()
    return module.adapter.weight.detach() - before


@pytest.mark.parametrize("draws", [1, 3])
@pytest.mark.parametrize("left_out", [0, 5])
def test_one_example_more_or_less_moves_a_step_by_at_most_clip_over_batch(draws, left_out):
    """Also the one whose gradient is a thousand times longer than the others'."""
    kept = [row for row in range(12) if row != left_out]
    everybody = moved_by_everybody(data(12), draws)
    without = moved_by_everybody(tuple(tensor[kept] for tensor in data(12)), draws)
    assert 0.1 / 11 < (everybody - without).norm() <= 1 / 11 + 1e-5


def test_passes_of_few_rows_give_the_same_step_as_one_pass():
    for rows in (1, 5):
        torch.testing.assert_close(trained(rows=rows), trained(rows=64), rtol=1e-5, atol=1e-7)


def test_several_draws_make_one_gradient_per_example_and_a_less_random_one():
    """With losses that are random per row, the step of four draws scatters half as much as that of one."""
    wide = Privacy(EXAMPLE, noise=1e-12, clip=1e6, max_epsilon=1e40)

    def scatter(draws: int) -> float:
        generator, moves = torch.Generator().manual_seed(1), []
        for _ in range(60):
            module = Small()

            def noisy(x, y, module=module):
                return (module(x) - torch.randn(y.shape, generator=generator)).square().mean(1)

            before = module.adapter.weight.detach().clone()
            examples = tuple(tensor[1:] for tensor in data(9))
            with PrivateTrainer(
                module, wide, examples, batch=8, loss_of=noisy, optimiser=SGD, draws=draws, seed=0
            ) as trainer:
                trainer.step()
            moves.append(module.adapter.weight.detach() - before)
        return float(torch.stack(moves).std(0).mean())

    assert scatter(4) / scatter(1) == pytest.approx(0.5, rel=0.2)


# -------------------------------------------------------------------------------------------------- noise and sampling


def test_the_noise_of_a_step_is_noise_times_clip_over_batch():
    module = torch.nn.Linear(400, 250, bias=False)
    before = module.weight.detach().clone()
    privacy = Privacy(EXAMPLE, noise=1.5, clip=0.2, max_epsilon=1e3)
    x = torch.zeros(10, 400)  # no gradient at all
    with PrivateTrainer(
        module, privacy, (x,), batch=5, loss_of=lambda x: module(x).mean(1), optimiser=SGD, seed=1
    ) as trainer:
        trainer.step()
    noise = module.weight.detach() - before
    assert noise.numel() == 100_000
    assert float(noise.std()) == pytest.approx(1.5 * 0.2 / 5, rel=0.03)


def test_every_example_is_drawn_by_itself_with_the_rate_that_is_accounted():
    module, drawn = Small(), []

    def counting(x, y):
        drawn.append(len(x))
        return losses_of(module)(x, y)

    with PrivateTrainer(module, ALMOST_NONE, data(20), batch=2, loss_of=counting, seed=5) as trainer:
        assert trainer.sample_rate == 0.1
        losses = [trainer.step() for _ in range(1500)]
    nobody = sum(map(math.isnan, losses))
    counts = torch.tensor([*drawn, *[0] * nobody], dtype=torch.float64)
    assert len(counts) == 1500
    assert float(counts.mean()) == pytest.approx(2.0, abs=4 * math.sqrt(1.8 / 1500))
    assert float(counts.var()) == pytest.approx(1.8, rel=0.15)  # binomial; batches of fixed size would have none
    assert nobody / 1500 == pytest.approx(0.9**20, abs=0.03)


def test_a_step_with_nobody_drawn_is_noise_alone():
    module = Small()
    before = module.adapter.weight.detach().clone()
    privacy = Privacy(EXAMPLE, noise=1.0, max_epsilon=1e6)
    with PrivateTrainer(
        module, privacy, data(5), batch=1e-9, loss_of=losses_of(module), optimiser=partial(SGD, lr=1e-9), seed=0
    ) as trainer:
        assert math.isnan(trainer.step())
    assert float((module.adapter.weight.detach() - before).norm()) == pytest.approx(math.sqrt(24), rel=0.4)


def test_the_same_seed_gives_the_same_step_and_no_seed_another():
    noisy = Privacy(EXAMPLE, noise=1.0, max_epsilon=1e3)
    assert torch.equal(trained(noisy, seed=1), trained(noisy, seed=1))
    assert not torch.equal(trained(noisy, seed=None), trained(noisy, seed=None))


# --------------------------------------------------------------------------------------------------------------- budget


def test_training_stops_before_the_budget_is_passed_and_nothing_moves_any_more():
    module = Small()
    privacy = Privacy(EXAMPLE, noise=1.0, max_epsilon=4.0)
    with PrivateTrainer(module, privacy, data(40), batch=10, loss_of=losses_of(module), seed=0) as trainer:
        allowed = trainer.left
        for _ in range(allowed):
            trainer.step()
        kept = module.adapter.weight.detach().clone()
        with pytest.raises(BudgetSpentError, match="would pass epsilon 4"):
            trainer.step()
        assert torch.equal(kept, module.adapter.weight.detach())
        assert trainer.epsilon <= 4.0 < epsilon([Release(1.0, 0.25, allowed + 1)], privacy.delta)
        spent = trainer.spent
    assert spent == (Release(1.0, 0.25, allowed),)
    with PrivateTrainer(module, privacy, data(40), batch=10, loss_of=losses_of(module), spent=spent) as again:
        assert again.left == 0  # what a site spent in earlier rounds counts


# ------------------------------------------------------------------------------------------------------------- refusals


class Mixing(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.out = torch.nn.BatchNorm1d(4, affine=False), torch.nn.Linear(4, 3)

    def forward(self, x):
        return self.out(self.norm(x))


class Bare(torch.nn.Module):
    """A parameter that is used twice the batch size ahead of its layer: no gradient per example."""

    def __init__(self):
        super().__init__()
        self.out = torch.nn.Linear(4, 3)

    def forward(self, x):
        return self.out(torch.cat([x, x])).view(2, len(x), 3).mean(0)


def test_a_module_that_mixes_examples_is_refused():
    with pytest.raises(InputError, match="normalises over the batch"):
        PrivateTrainer(Mixing(), ALMOST_NONE, data(8), batch=4, loss_of=lambda x, y: x.mean(1))


def test_a_layer_that_does_not_see_examples_along_its_first_axis_is_refused():
    module = Bare()
    with (
        PrivateTrainer(module, ALMOST_NONE, data(8), batch=8, loss_of=losses_of(module), seed=0) as trainer,
        pytest.raises(InputError, match="gave no gradient per example"),
    ):
        trainer.step()


def test_one_loss_for_the_whole_batch_is_refused():
    module = Small()
    with (
        PrivateTrainer(module, ALMOST_NONE, data(8), batch=8, loss_of=lambda x, y: module(x).mean(), seed=0) as trainer,
        pytest.raises(InputError, match="one loss per row"),
    ):
        trainer.step()


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        ({"privacy": Privacy(CLIENT)}, "kind"),
        ({"privacy": Privacy(EXAMPLE, delta=0.2)}, "delta"),
        ({"batch": 9}, "batch"),
        ({"examples": (torch.zeros(8, 4), torch.zeros(7, 3))}, "examples"),
        ({"draws": 0}, "draws"),
    ],
)
def test_a_setting_that_the_promise_does_not_hold_for_is_refused_by_name(wrong, name):
    module = Small()
    given = {"privacy": ALMOST_NONE, "examples": data(8), "batch": 4, "loss_of": losses_of(module)} | wrong
    with pytest.raises(InputError) as refused:
        PrivateTrainer(module, **given)
    assert refused.value.param == name


def test_a_closed_trainer_leaves_the_module_as_it_found_it():
    module = Small().eval()
    names = set(vars(module)), set(vars(module.adapter.weight))
    with PrivateTrainer(module, ALMOST_NONE, data(8), batch=4, loss_of=losses_of(module), seed=0) as trainer:
        trainer.step()
    assert (set(vars(module)), set(vars(module.adapter.weight))) == names
    assert not module.training
    assert not module.adapter._forward_hooks
    assert not module.adapter._backward_hooks
    assert module.adapter.weight.grad is None


# ------------------------------------------------------------------------------------------------- the built-in network


@pytest.mark.parametrize("trains", ["lora_B", "lora_"], ids=["ffa", "both factors"])
def test_gradients_per_example_of_the_network_with_an_adapter_are_those_of_one_example_at_a_time(trains):
    from opacus.grad_sample.grad_sample_module import GradSampleHooks

    unet, generator = fresh_adapter(0), torch.Generator().manual_seed(0)
    for name, parameter in unet.named_parameters():
        parameter.requires_grad_(trains in name)
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05, generator=generator)
    latents, noise = (torch.randn(3, 8, 8, 8, generator=generator) for _ in range(2))
    text, timesteps = torch.randn(3, 24, 32, generator=generator), torch.tensor([20, 400, 900])
    parameters = {name: one for name, one in unet.named_parameters() if one.requires_grad}
    assert any(one.ndim == 4 for one in parameters.values())  # convolutions
    assert any(one.ndim == 2 for one in parameters.values())  # and attention
    singles = []
    for row in range(3):
        unet.zero_grad()
        at = slice(row, row + 1)
        v_losses(unet, latents[at], text[at], noise[at], timesteps[at]).sum().backward()
        singles.append({name: one.grad.clone() for name, one in parameters.items()})
    unet.train()
    hooks = GradSampleHooks(unet, loss_reduction="sum", strict=True)
    with pytest.warns(UserWarning, match="Full backward hook"):  # which PrivateTrainer keeps quiet
        v_losses(unet, latents, text, noise, timesteps).sum().backward()
    for row, single in enumerate(singles):
        for name, one in parameters.items():
            torch.testing.assert_close(one.grad_sample[row], single[name], rtol=1e-3, atol=1e-5)
    hooks.cleanup()


def test_the_network_learns_in_private():
    """Sixteen examples that are all alike: even noised gradients point the same way."""
    unet, generator = fresh_adapter(0), torch.Generator().manual_seed(0)
    latents = torch.randn(1, 8, 8, 8, generator=generator).expand(16, -1, -1, -1).contiguous()
    text = torch.zeros(16, 24, 32)
    privacy = Privacy(EXAMPLE, noise=0.5, clip=0.5, max_epsilon=1e4)
    losses, adam = DrawnLosses(unet, draws=2, generator=generator), partial(torch.optim.Adam, lr=2e-2)
    with PrivateTrainer(
        unet, privacy, (latents, text), batch=16, loss_of=losses, draws=2, rows=16, seed=0, optimiser=adam
    ) as trainer:
        found = [trainer.step() for _ in range(16)]
    assert sum(found[-3:]) < 0.8 * sum(found[:3])
