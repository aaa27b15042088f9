"""Whether tasks that use several divided resources one after the other can all be done in time, and with which shares.

K tasks, R resources; a_kr is what task k needs of resource r in seconds at full share, slack_k the time it has. Task k with
shares x_kr needs sum_r a_kr / x_kr seconds, and the shares of a resource sum to at most 1. (Linear rates; feature-hierarchical
inference and fixed assignments with slack-free radio are of this form.)
"""

import numpy as np

FITS = 1.0 + 1e-9


def burden(work_s: np.ndarray, slack_s: np.ndarray) -> np.ndarray:
    """The part of every resource that tasks float[..., K, R] with slack float[..., K] need, float[...]; they fit if <= 1.

    When each task splits its time best, the least possible largest use of a resource is the largest, over prices on the
    simplex, of sum_k (sum_r sqrt(price_r a_kr))^2 / slack_k (minimax, with Cauchy-Schwarz inside). In the square roots of
    the prices that is a quadratic form with entries >= 0 on the unit sphere: the largest eigenvalue of its matrix.
    A task that needs something and has no time makes it inf.
    """
    late = np.asarray(((slack_s <= 0) & (work_s > 0).any(axis=-1)).any(axis=-1))
    return np.where(late, np.inf, np.linalg.eigvalsh(_form(work_s, slack_s))[..., -1])


def least_shares(work_s: np.ndarray, slack_s: np.ndarray) -> np.ndarray:
    """The shares float[K, R] with which tasks float[K, R] finish exactly in time and the fullest resource is least used."""
    roots = np.abs(np.linalg.eigh(_form(work_s, slack_s))[1][:, -1])  # square roots of the prices
    pull = roots * np.sqrt(work_s)
    total = pull.sum(axis=1, keepdims=True)
    seconds = slack_s[:, None] * pull / np.where(total > 0, total, 1.0)
    return np.where(work_s > 0, work_s / np.where(seconds > 0, seconds, 1.0), 0.0)


def charge(work_s: np.ndarray, slack_s: np.ndarray, prices: np.ndarray) -> np.ndarray:
    """The least that a task pays, float[...], at prices float[R] of the resources: (sum_r sqrt(price_r a_r))^2 / slack.

    Task float[..., R] with slack float[...]; inf when it needs something and has no time.
    """
    paid = np.sqrt(prices * work_s).sum(axis=-1) ** 2 / np.where(slack_s > 0, slack_s, 1.0)
    return np.where((slack_s > 0) | ~(work_s > 0).any(axis=-1), paid, np.inf)


def bought_shares(work_s: np.ndarray, slack_s: np.ndarray, prices: np.ndarray) -> np.ndarray:
    """The shares float[..., R] that a task buys at prices float[R] > 0; see `charge`."""
    pull = np.sqrt(prices * work_s).sum(axis=-1, keepdims=True)
    return pull * np.sqrt(work_s / prices) / np.where(slack_s > 0, slack_s, 1.0)[..., None]


def _form(work_s: np.ndarray, slack_s: np.ndarray) -> np.ndarray:
    roots = np.sqrt(work_s / np.where(slack_s > 0, slack_s, 1.0)[..., None])
    return np.einsum("...kr,...ks->...rs", roots, roots)
