"""What training gives away, measured: much by an over-trained adapter, nothing that can be seen by a private one."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("opacus")
pytest.importorskip("peft")

import torch

from edgegen.tune.privacy.attack import TIMESTEPS
from edgegen.tune.privacy.diffusion_losses import DrawnLosses, losses_at, v_losses
from edgegen.tune.privacy.leakage import OVERTRAINED, PRIVATE_MANY, drawn_examples, fresh_adapter, measure_leakage

pytestmark = [pytest.mark.torch, pytest.mark.slow]


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def test_an_over_trained_adapter_gives_its_pictures_away():
    found = measure_leakage(replace(OVERTRAINED, steps=150, others=120), runs=1)
    assert found.calibrated.auc >= 0.75
    assert found.calibrated.low > 0.6
    assert found.by_loss.auc > 0.6
    assert found.member_loss < 0.8 * found.other_loss  # it is over-trained


def test_a_private_adapter_learns_and_gives_nothing_away_that_this_attack_sees():
    found = measure_leakage(replace(PRIVATE_MANY, members=500, steps=30, batch=50), runs=1)
    assert 7.9 < found.epsilon <= 8.0
    assert max(found.by_loss.auc, found.calibrated.auc) <= 0.55
    assert found.calibrated.low <= 0.5
    assert found.other_loss < 0.9 * found.base_loss


def test_losses_of_the_attack_are_the_same_for_the_same_seed_whatever_the_batch():
    unet, (latents, text) = fresh_adapter(0), drawn_examples(5, 0)
    whole = losses_at(unet, latents, text, timesteps=TIMESTEPS, draws=2, seed=4)
    assert whole.shape == (5, 3)
    np.testing.assert_allclose(
        losses_at(unet, latents, text, timesteps=TIMESTEPS, draws=2, seed=4, batch=2), whole, rtol=1e-4
    )
    assert not np.allclose(losses_at(unet, latents, text, timesteps=TIMESTEPS, draws=2, seed=5), whole)


def test_the_loss_is_that_of_training():
    """A network that answers v by heart has no loss; one that answers nothing has that of v itself."""
    from types import SimpleNamespace

    from edgegen.train.diffusion import scheduler

    latents, noise = torch.randn(3, 8, 8, 8), torch.randn(3, 8, 8, 8)
    timesteps, text = torch.tensor([5, 400, 999]), torch.zeros(3, 2, 2)
    target = scheduler().get_velocity(latents, noise, timesteps)

    def knows(noisy, at, encoder_hidden_states):
        torch.testing.assert_close(noisy, scheduler().add_noise(latents, noise, timesteps))
        return SimpleNamespace(sample=target)

    assert float(v_losses(knows, latents, text, noise, timesteps).max()) < 1e-10
    blank = v_losses(lambda noisy, *_, **__: SimpleNamespace(sample=0 * noisy), latents, text, noise, timesteps)
    torch.testing.assert_close(blank, target.square().mean((1, 2, 3)))


def test_draws_of_one_example_are_spread_and_no_example_sees_another():
    seen = []

    class Blank(torch.nn.Module):
        def forward(self, noisy, timesteps, encoder_hidden_states):
            from types import SimpleNamespace

            seen.append(timesteps)
            return SimpleNamespace(sample=0 * noisy)

    losses = DrawnLosses(Blank(), draws=4, generator=torch.Generator().manual_seed(0))
    assert losses(torch.randn(8, 8, 8, 8), torch.zeros(8, 2, 2)).shape == (8,)
    (timesteps,) = seen
    quarters = timesteps.view(2, 4) // 250
    assert (quarters == torch.arange(4)).all()
