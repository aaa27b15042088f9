"""A run for people: pictures before and after, by site, and what the rounds moved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from edgegen.generate.words import OBJECTS
from edgegen.tune.adapters import Arrays
from edgegen.tune.federation.records import Progress
from edgegen.tune.judging import Exam, Marks
from edgegen.tune.pictures import Workshop
from edgegen.tune.sites import Site

ROUND_COLUMNS = (
    "round", "sites", "late", "failed", "loss", "quality", "down [kB]", "up [kB]", "epsilon", "radio [s]",
)  # fmt: skip
STEPS = (2, 4, 8, 16)
SCALE, LABEL, MARGIN = 2, 14, 6  # side of a pixel, height of a line of text, pixels between groups


def sheet(site: Site, columns: Mapping[str, Marks], *, per_object: int = 2) -> Image.Image:
    """Lay out what a site has, and what each network draws for held-out captions, an object to a line.

    The pictures of one line have the same caption and the same seed; a green rim says that the judge found everything.
    """
    side = 64 * SCALE + 4
    names = [f"{site.name} has", *columns]
    width = len(names) * (per_object * side + MARGIN)
    page = Image.new("RGB", (width, LABEL + len(OBJECTS) * (side + LABEL)), "white")
    pen = ImageDraw.Draw(page)
    for column, name in enumerate(names):
        pen.text((column * (per_object * side + MARGIN) + 2, 1), name, fill="black")
    for line, (novel, share) in enumerate(zip(OBJECTS, site.shares, strict=True)):
        top = LABEL + line * (side + LABEL)
        pen.text((2, top + 1), f"{novel}: {share:.0%} of its novel pictures", fill="black")
        own = [row for row, scene in enumerate(site.scenes) if any(item.shape == novel for item in scene.items)]
        for at, row in enumerate(own[:per_object]):
            _paste(page, site.pictures[row], (at * side, top + LABEL), "white")
        for column, marks in enumerate(columns.values(), 1):
            for at, row in enumerate(marks.rows(novel=novel)[:per_object]):
                rim = "green" if marks.verdicts[row].all_right else "white"
                x = column * (per_object * side + MARGIN) + at * side
                _paste(page, marks.pictures[row], (x, top + LABEL), rim)
    return page


def rounds_table(progress: Progress, seconds: Sequence[float] = ()) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """Return the columns that have something to say, and a line per round; `seconds` are modelled, of each round."""
    lines = [
        (
            one.number,
            f"{one.answered}/{one.asked}",
            one.late or "",
            one.failed or "",
            _number(one.metrics.get("loss")),
            _number(one.quality.get("quality")),
            f"{one.down_bytes / 1e3:.0f}",
            f"{one.up_bytes / 1e3:.0f}",
            _number(one.epsilon),
            _number(seconds[at] if at < len(seconds) else None),
        )
        for at, one in enumerate(progress.history)
    ]
    told = [at for at in range(len(ROUND_COLUMNS)) if any(line[at] != "" for line in lines)]
    return tuple(ROUND_COLUMNS[at] for at in told), [tuple(line[at] for at in told) for line in lines]


def before_and_after(
    workshop: Workshop, arrays: Arrays, *, per_object: int = 6, steps: Sequence[int] = STEPS
) -> dict[str, Any]:
    """Judge a run's outcome beside its base at several step counts: quality by category, by object and by site.

    Returns plain values: `{"captions": n, "quality": {steps: {"before": {...}, "after": {...}}}}`, for a model's card.
    """
    places = [workshop.site(number) for number in range(workshop.task.spread.sites)]
    found: dict[str, Any] = {}
    for count in steps:
        exam = Exam.of(per_object, per_object, steps=count)
        found[str(count)] = {
            when: _marks(workshop.examine(worn, exam), places)
            for when, worn in (("before", workshop.start), ("after", arrays))
        }
    return {"captions": len(Exam.of(per_object, per_object).scenes), "quality": found}


def _marks(marks: Marks, places: Sequence[Site]) -> dict[str, float]:
    categories = {scene.category for scene in marks.exam.scenes}
    by_category = {name: marks.quality(marks.rows(category=name)) for name in sorted(categories)}
    by_site = {site.name: marks.for_site(site.shares) for site in places}
    return {name: round(value, 4) for name, value in {**by_category, **marks.by_object(), **by_site}.items()}


def quality_rows(columns: Mapping[str, Marks], places: Sequence[Site]) -> list[tuple[Any, ...]]:
    """Return lines of judged quality: of every novel object, for every site in its own proportions, and of what was known."""
    marks = list(columns.values())
    lines = [(novel, *(round(one.by_object()[novel], 3) for one in marks)) for novel in OBJECTS]
    lines += [(f"{site.name}'s own", *(round(one.for_site(site.shares), 3) for one in marks)) for site in places]
    for site in places:
        lacks = site.lacks
        lines.append((f"{lacks}, which {site.name} lacks", *(round(one.by_object()[lacks], 3) for one in marks)))
    return [*lines, ("known before", *(round(one.known, 3) for one in marks))]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _paste(page: Image.Image, picture: np.ndarray, corner: tuple[int, int], rim: str) -> None:
    x, y = corner
    big = Image.fromarray(picture).resize((64 * SCALE, 64 * SCALE), Image.Resampling.NEAREST)
    ImageDraw.Draw(page).rectangle((x, y, x + 64 * SCALE + 3, y + 64 * SCALE + 3), outline=rim, width=2)
    page.paste(big, (x + 2, y + 2))
