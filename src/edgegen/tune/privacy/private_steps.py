"""Training a site's adapter so that no single example can be told from what is sent: DP-SGD (Abadi et al. 2016, arXiv:1607.00133).

One step draws every example with the same probability, independently of the others; takes the gradient of each drawn
example by itself; cuts it to norm `clip`; adds Gaussian noise of standard deviation `noise * clip` to their sum; divides by the
*expected* number of examples, and hands the result to any optimiser. Opacus does all but the drawing.

**What is promised.** The trained parameters after n steps, and all those between, are (epsilon, delta)-differentially private for
one example of the site added or removed, with the epsilon of `accounting` for n steps at sample rate batch / examples. What is
computed from them later (averages, merged weights, pictures) is as private. Several rounds at one site add up: give what was spent.

**What is not.** The number of examples (it sets the sample rate, and is often sent as a weight); the losses that `step` returns,
or any other figure computed from the examples without noise: these must stay at the site. A picture that occurs twice, or
several pictures of one person, are protected less than one. The noise comes from torch's generator in float32, which is not
hardened against readers who know its state or study the last bits of what is sent (Mironov 2012).

**Draws.** A diffusion loss is an average over random timesteps and noise. Several draws per example, averaged into *one*
gradient before it is cut (De et al. 2022, arXiv:2204.13650; Dockhorn et al. 2022, arXiv:2210.09929), make that gradient less
random and cost no privacy.
"""

from __future__ import annotations

import secrets
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from edgegen.core.errors import InputError
from edgegen.tune.privacy.accounting import BudgetSpentError, Release, affordable_steps, after, epsilon
from edgegen.tune.privacy.promise import EXAMPLE, Privacy

LossOf = Callable[..., torch.Tensor]  # rows of the examples -> one loss per row, float[rows]
MakeOptimiser = Callable[[list[torch.nn.Parameter]], torch.optim.Optimizer]
ADAM: MakeOptimiser = partial(torch.optim.Adam, lr=2e-3)


class PrivateTrainer:
    """Trains those parameters of a module that want a gradient; `close` (or `with`) leaves the module as it was found.

    Every such parameter must belong to a layer that sees the examples along its first axis and that Opacus knows or can
    differentiate by itself; the adapters of peft are linear layers and convolutions without bias, which it knows.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        privacy: Privacy,
        examples: Sequence[torch.Tensor],
        *,
        batch: float,
        loss_of: LossOf,
        optimiser: MakeOptimiser = ADAM,
        draws: int = 1,
        rows: int = 128,
        spent: Sequence[Release] = (),
        seed: int | None = None,
    ) -> None:
        """Prepare training.

        examples: tensors with the same first axis N; `loss_of` gets the drawn rows of each, and its losses must not let one
        example change another's. batch: examples per step in expectation. draws: losses per example in one step; `loss_of`
        gets each row so many times in succession. rows: at most so many rows in one pass, which bounds the memory and
        changes nothing else. spent: what this site has released before. seed: for experiments; whoever knows it can take
        the noise away, so it comes from the operating system if it is not given.

        **Raises** `InputError` for settings or modules that the promise does not hold for.
        """
        from opacus.grad_sample.grad_sample_module import GradSampleHooks
        from opacus.optimizers import DPOptimizer

        self.examples, self.sample_rate = _checked(privacy, examples, batch, draws, rows)
        self._examples, self._loss_of, self._draws, self._rows = examples, loss_of, draws, rows
        self._module, self._was_training = module, module.training
        self._privacy, self._spent = privacy, tuple(spent)
        self.left = affordable_steps(privacy, self.sample_rate, spent=spent)  # steps that the budget still allows
        self._parameters = _trainable(module)
        seeds = [secrets.randbits(63) for _ in range(2)] if seed is None else [seed, seed + 1]
        device = next(iter(self._parameters.values())).device
        self._drawing, noise = (
            torch.Generator(at).manual_seed(one) for at, one in zip(("cpu", device), seeds, strict=True)
        )
        try:
            self._hooks = GradSampleHooks(module, loss_reduction="sum", strict=True)
        except NotImplementedError as error:
            raise InputError(f"no gradient per example can be taken of this module: {error}", param="module") from error
        module.train()
        wrap: Any = DPOptimizer  # declared for whole numbers of examples, though it only divides by it
        self._optimiser = wrap(
            optimiser(list(self._parameters.values())),
            noise_multiplier=privacy.noise,
            max_grad_norm=privacy.clip,
            expected_batch_size=batch,
            generator=noise,
        )

    @property
    def spent(self) -> tuple[Release, ...]:
        """What was released so far, with what the site had released before."""
        return self._spent

    @property
    def epsilon(self) -> float:
        """Epsilon of everything released so far, at the settings' delta."""
        return epsilon(self._spent, self._privacy.delta)

    def step(self) -> float:
        """Make one private step; return the mean loss of the drawn examples (nan if none was drawn), **for the site's eyes only**.

        **Raises** `BudgetSpentError`, before anything is touched, if the step would pass the budget.
        """
        if self.left < 1:
            raise BudgetSpentError(
                f"a further step would pass epsilon {self._privacy.max_epsilon:g} (now {self.epsilon:.3f} at delta"
                f" {self._privacy.delta:g}): stop here, or allow more"
            )
        # Booked before it is made: what a crash leaves half done counts as done.
        self._spent = after(self._spent, Release(self._privacy.noise, self.sample_rate, 1))
        self.left -= 1
        drawn = torch.nonzero(torch.rand(self.examples, generator=self._drawing) < self.sample_rate).view(-1)
        parts = drawn.split(max(1, self._rows // self._draws))
        total = 0.0
        for at, part in enumerate(parts):
            self._optimiser.zero_grad(set_to_none=True)
            total += self._backward(part)
            self._optimiser.signal_skip_step(at + 1 < len(parts))  # all but the last pass only add to the sum
            self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)
        return total / len(drawn) if len(drawn) else float("nan")

    def close(self) -> None:
        """Take the hooks off the module and everything off its parameters."""
        self._hooks.cleanup()
        for parameter in self._parameters.values():
            parameter.grad = None
            if hasattr(parameter, "summed_grad"):
                del parameter.summed_grad  # type: ignore[attr-defined]
        self._module.train(self._was_training)

    def __enter__(self) -> PrivateTrainer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _backward(self, part: torch.Tensor) -> float:
        """Leave one gradient per example of `part` in each parameter; return the sum of their losses."""
        if not len(part):  # nobody was drawn: the step is noise alone, as it must be
            for parameter in self._parameters.values():
                parameter.grad_sample = parameter.new_zeros((0, *parameter.shape))  # type: ignore[attr-defined]
            return 0.0
        rows = [tensor[part].repeat_interleave(self._draws, 0) for tensor in self._examples]
        losses = self._loss_of(*rows)
        if losses.shape != (len(rows[0]),):
            raise InputError(
                f"loss_of must give one loss per row, shape ({len(rows[0])},); got {tuple(losses.shape)}",
                param="loss_of",
            )
        with warnings.catch_warnings():
            # Layers that see the text alone: torch says that it calls Opacus' hook for their outputs, which is what it needs.
            warnings.filterwarnings("ignore", "Full backward hook is firing", UserWarning)
            losses.sum().backward()
        for name, parameter in self._parameters.items():
            found = getattr(parameter, "grad_sample", None)
            if not isinstance(found, torch.Tensor) or len(found) != len(rows[0]):
                raise InputError(
                    f"parameter {name} gave no gradient per example: its layer must be used once in a pass, with examples"
                    " along the first axis",
                    param="module",
                )
            if self._draws > 1:
                parameter.grad_sample = found.reshape(len(part), self._draws, *parameter.shape).mean(1)  # type: ignore[attr-defined]
        return float(losses.detach().sum()) / self._draws


def _checked(
    privacy: Privacy, examples: Sequence[torch.Tensor], batch: float, draws: int, rows: int
) -> tuple[int, float]:
    """Count the examples and give the rate at which each is drawn, if everything can hold."""
    if privacy.kind != EXAMPLE:
        raise InputError(
            f"training by private steps needs privacy of kind 'example', got {privacy.kind!r}", param="kind"
        )
    counts = {len(tensor) for tensor in examples}
    if len(counts) != 1 or 0 in counts:
        raise InputError(
            f"examples must be tensors of one length above 0, got lengths {sorted(counts)}", param="examples"
        )
    (count,) = counts
    if not 0 < batch <= count:
        raise InputError(f"batch must be above 0 and at most the {count} examples, got {batch}", param="batch")
    if privacy.delta >= 1 / count:
        raise InputError(
            f"delta {privacy.delta:g} allows one of {count} examples to be given away; use one well below {1 / count:.2g}",
            param="delta",
        )
    if draws < 1 or rows < draws:
        raise InputError(f"draws must be at least 1 and fit into rows, got {draws} and {rows}", param="draws")
    return count, batch / count


def _trainable(module: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    """Parameters to train by name; a module that mixes examples has none that could be trained in private."""
    for name, part in module.named_modules():
        if isinstance(part, torch.nn.modules.batchnorm._BatchNorm):
            raise InputError(
                f"{name} normalises over the batch, so one example changes the gradients of others; use group normalisation",
                param="module",
            )
    found = {name: one for name, one in module.named_parameters() if one.requires_grad}
    if not found:
        raise InputError("the module has no parameter that wants a gradient", param="module")
    return found
