"""The contact sheet: every picture of every policy, in the order of the requests, with what became of it."""

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from edgegen.demo.score import Judged

_SIDE, _GAP, _CAPTION, _COLUMNS, _TITLE = 96, 6, 30, 12, 26
_GOOD, _WRONG, _LATE, _NONE = "#2e9e5b", "#d9a400", "#c8553d", "#8a8f98"
LEGEND = (
    (_GOOD, "in time, all right"),
    (_WRONG, "in time, something missing"),
    (_LATE, "late"),
    (_NONE, "refused or failed"),
)


def colour(judged: Judged) -> str:
    """Return the colour that stands for what became of a request."""
    if judged.outcome.status != "finished":
        return _NONE
    if not judged.outcome.in_time:
        return _LATE
    return _GOOD if judged.all_right else _WRONG


def contact_sheet(runs: dict[str, Sequence[Judged]], path: Path) -> None:
    """Write one PNG with a block of pictures per policy."""
    rows = {name: -(-len(judged) // _COLUMNS) for name, judged in runs.items()}
    cell_w, cell_h = _SIDE + _GAP, _SIDE + _CAPTION + _GAP
    height = sum(_TITLE + count * cell_h for count in rows.values()) + _TITLE + _GAP
    sheet = Image.new("RGB", (_COLUMNS * cell_w + _GAP, height), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    y = _GAP
    for name, judged in runs.items():
        pen.text((_GAP, y + 4), name, fill="black", font=ImageFont.load_default(15))
        y += _TITLE
        for index, one in enumerate(judged):
            _cell(sheet, pen, font, one, _GAP + index % _COLUMNS * cell_w, y + index // _COLUMNS * cell_h)
        y += rows[name] * cell_h
    x = _GAP
    for shade, text in LEGEND:
        pen.rectangle((x, y + 7, x + 12, y + 19), fill=shade)
        pen.text((x + 18, y + 6), text, fill="black", font=font)
        x += 30 + int(pen.textlength(text, font=font)) + 14
    sheet.save(path)


def _cell(sheet: Image.Image, pen: ImageDraw.ImageDraw, font, judged: Judged, x: int, y: int) -> None:
    pen.rectangle((x - 2, y - 2, x + _SIDE + 1, y + _SIDE + 1), outline=colour(judged), width=2)
    outcome = judged.outcome
    if outcome.picture is None:
        pen.rectangle((x, y, x + _SIDE - 1, y + _SIDE - 1), fill="#eef0f3")
        pen.text((x + 8, y + _SIDE // 2 - 6), outcome.status, fill=_NONE, font=font)
        return
    with Image.open(io.BytesIO(outcome.picture)) as picture:
        sheet.paste(picture.convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.BICUBIC), (x, y))
    where = f"{outcome.item['node']} {outcome.item['model'].removeprefix('shapes-')}{outcome.item['steps']}"
    pen.text((x, y + _SIDE + 2), where, fill="#333", font=font)
    pen.text((x, y + _SIDE + 14), f"{outcome.latency_s:.2f} of {outcome.ask.deadline_s:.2f} s", fill="#666", font=font)
