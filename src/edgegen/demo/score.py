"""What a policy made of the requests: judged pictures, kept deadlines, joules."""

import dataclasses
import io
from collections.abc import Sequence

import numpy as np

from edgegen.core.result import wilson
from edgegen.demo.drive import Outcome
from edgegen.generate.grammar import parse
from edgegen.generate.judge import Judge


@dataclasses.dataclass(frozen=True)
class Judged:
    """An outcome with the judge's word on its picture."""

    outcome: Outcome
    share_right: float  # share of the caption's attributes that the picture shows
    all_right: bool

    @property
    def good(self) -> bool:
        """In time, and everything that the caption says is in the picture."""
        return self.outcome.in_time and self.all_right


@dataclasses.dataclass(frozen=True)
class Score:
    """The row of one policy in the demo's table."""

    policy: str
    requests: int
    attained: int  # delivered in time
    right: int  # pictures with all attributes right, in time or not
    good: int  # in time and all right
    refused: int
    failed: int
    share_right: float  # attributes shown, over all requests (an undelivered picture shows none)
    p50_s: float
    p95_s: float
    mean_steps: float
    energy_j: float

    @property
    def joules_per_good_picture(self) -> float:
        """All energy, also of pictures that came late or wrong, over the good ones."""
        return self.energy_j / self.good if self.good else float("inf")

    def to_dict(self) -> dict:
        """Return the row as plain data, with 95 % intervals of the rates."""
        low, high = wilson(self.attained, self.requests)
        good_low, good_high = wilson(self.good, self.requests)
        return {
            **dataclasses.asdict(self),
            "attainment": self.attained / self.requests,
            "attainment_low": low,
            "attainment_high": high,
            "good_rate": self.good / self.requests,
            "good_low": good_low,
            "good_high": good_high,
            "joules_per_good_picture": self.joules_per_good_picture if self.good else None,
        }


def judge_all(outcomes: Sequence[Outcome]) -> list[Judged]:
    """Ask the judge about every picture that was delivered."""
    judge = Judge.load()
    delivered = [outcome for outcome in outcomes if outcome.picture is not None]
    verdicts = {}
    if delivered:
        pictures = np.stack([_pixels(outcome.picture) for outcome in delivered if outcome.picture])
        found = judge(pictures, [parse(outcome.ask.prompt) for outcome in delivered])
        verdicts = {id(outcome): verdict for outcome, verdict in zip(delivered, found, strict=True)}
    judged = []
    for outcome in outcomes:
        verdict = verdicts.get(id(outcome))
        judged.append(Judged(outcome, verdict.share if verdict else 0.0, bool(verdict and verdict.all_right)))
    return judged


def score(policy: str, judged: Sequence[Judged]) -> Score:
    """Return the row of a policy."""
    finished = [j.outcome for j in judged if j.outcome.status == "finished"]
    latencies = [outcome.latency_s for outcome in finished] or [float("nan")]
    return Score(
        policy=policy,
        requests=len(judged),
        attained=sum(j.outcome.in_time for j in judged),
        right=sum(j.all_right for j in judged),
        good=sum(j.good for j in judged),
        refused=sum(j.outcome.status == "refused" for j in judged),
        failed=sum(j.outcome.status == "failed" for j in judged),
        share_right=float(np.mean([j.share_right for j in judged])),
        p50_s=float(np.percentile(latencies, 50)),
        p95_s=float(np.percentile(latencies, 95)),
        mean_steps=float(np.mean([outcome.item["steps"] for outcome in finished])) if finished else 0.0,
        energy_j=sum(outcome.energy_j for outcome in finished),
    )


def _pixels(png: bytes) -> np.ndarray:
    from PIL import Image

    with Image.open(io.BytesIO(png)) as picture:
        return np.asarray(picture.convert("RGB"))
