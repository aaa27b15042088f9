"""A learner that needs nothing but numpy: least squares by gradient descent, on data split by a Dirichlet draw."""

import os
from pathlib import Path

import numpy as np

from edgegen.tune.federation.learners import AbstractLearner, Arrays, Fitted

NUMBERS, CLASSES, EXAMPLES = 6, 4, 240
RATE = 0.05
TRUTH = np.linspace(-1.0, 1.5, NUMBERS)


def data(sites: int, alpha: float = 1.0, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return (x, y) of each site. Classes shift x, and sites hold them in shares drawn from Dirichlet(alpha)."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(CLASSES, size=EXAMPLES)
    x = rng.normal(size=(EXAMPLES, NUMBERS)) + 0.5 * rng.normal(size=(CLASSES, NUMBERS))[classes]
    y = x @ TRUTH + 0.1 * rng.normal(size=EXAMPLES)
    shares = rng.dirichlet(np.full(sites, alpha), size=CLASSES)  # of each class, over sites
    owner = np.array([rng.choice(sites, p=shares[label]) for label in classes])
    owner[:sites] = np.arange(sites)  # nobody is empty
    return [(x[owner == site], y[owner == site]) for site in range(sites)]


class LeastSquares(AbstractLearner):
    """Finds w in y ~ x·w + b, from one site's rows."""

    def __init__(self, x: np.ndarray, y: np.ndarray):
        self.x, self.y = x, y

    def fit(self, arrays: Arrays, *, round: int, steps: int) -> Fitted:  # noqa: A002
        w, b = arrays["w"].astype(np.float64), arrays["b"].astype(np.float64)
        for _ in range(steps):
            error = self.x @ w + b - self.y
            w = w - RATE * self.x.T @ error / len(self.y)
            b = b - RATE * error.mean()
        found = {"w": w.astype(np.float32), "b": np.asarray(b, np.float32)}
        return Fitted(found, float(len(self.y)), {"loss": self.loss(found)})

    def evaluate(self, arrays: Arrays) -> dict[str, float]:
        return {"quality": -self.loss(arrays), "examples": float(len(self.y))}

    def loss(self, arrays: Arrays) -> float:
        return float(np.mean((self.x @ arrays["w"] + arrays["b"] - self.y) ** 2))


def start() -> Arrays:
    return {"w": np.zeros(NUMBERS, np.float32), "b": np.zeros((), np.float32)}


def learners(sites: int, alpha: float = 1.0, seed: int = 0) -> list[LeastSquares]:
    return [LeastSquares(x, y) for x, y in data(sites, alpha, seed)]


def everything(sites: int, alpha: float = 1.0, seed: int = 0) -> LeastSquares:
    """A learner with the rows of all sites: the judge, and what training without sites would be."""
    parts = data(sites, alpha, seed)
    return LeastSquares(np.concatenate([x for x, _ in parts]), np.concatenate([y for _, y in parts]))


def averaged(sites: int, rounds: int, steps: int, alpha: float = 1.0) -> Arrays:
    """FedAvg written out: every site from the same arrays, then the mean by examples."""
    arrays, everyone = start(), learners(sites, alpha)
    for number in range(1, rounds + 1):
        fitted = [learner.fit(arrays, round=number, steps=steps) for learner in everyone]
        examples = sum(answer.weight for answer in fitted)
        arrays = {
            name: sum(answer.weight / examples * answer.arrays[name].astype(np.float64) for answer in fitted)
            for name in arrays
        }
        arrays = {name: np.asarray(values, np.float32) for name, values in arrays.items()}
    return arrays


# ------------------------------------------------------------------- by name, for processes that make their own learners


def make(site: int, sites: int, options) -> LeastSquares:
    """The factory; with `options["crash"]` the process of a site or of the server is killed once, for tests."""
    return LeastSquares(*data(sites, options.get("alpha", 1.0))[site])


def judge(options):
    """Judge by all rows; once, in the round that `options` names, the process of the server is killed."""
    whole, calls = everything(options["sites"], options.get("alpha", 1.0)), []

    def measure(arrays: Arrays) -> dict[str, float]:
        calls.append(1)
        if marker := options.get("die_once"):
            seen = Path(marker)
            if len(calls) == 2 and not seen.exists():
                seen.write_text("killed")
                os.kill(os.getpid(), 9)
        return {"quality": -whole.loss(arrays)}

    return measure
