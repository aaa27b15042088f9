"""The demo's HTML report: one file that needs nothing else."""

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path

from edgegen.demo.score import Judged, Score
from edgegen.demo.sheet import colour

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem;color:#1c2430}
table{border-collapse:collapse;margin:1rem 0}td,th{padding:.3rem .8rem;border-bottom:1px solid #dde2e8;text-align:right}
td:first-child,th:first-child{text-align:left}small,.note{color:#5b6675}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(11rem,1fr));gap:.8rem}
figure{margin:0;border:2px solid;border-radius:6px;padding:.5rem;font-size:12px}
figure img{width:100%;border-radius:3px}figure b{display:block}
"""

COLUMNS = (
    "policy",
    "in time",
    "good",
    "attributes right",
    "P50",
    "P95",
    "steps",
    "J per good picture",
    "refused",
    "failed",
)


def table_row(row: Score) -> tuple[str, ...]:
    """Return the cells of a policy under `COLUMNS`, for the terminal and for the page."""
    data = row.to_dict()
    joules = "-" if not row.good else f"{row.joules_per_good_picture:.1f}"
    return (
        row.policy,
        f"{data['attainment']:.0%} ({data['attainment_low']:.0%} to {data['attainment_high']:.0%})",
        f"{data['good_rate']:.0%} ({data['good_low']:.0%} to {data['good_high']:.0%})",
        f"{row.share_right:.0%}",
        f"{row.p50_s:.2f} s",
        f"{row.p95_s:.2f} s",
        f"{row.mean_steps:.1f}",
        joules,
        str(row.refused),
        str(row.failed),
    )


def write_report(path: Path, scores: Sequence[Score], runs: dict[str, Sequence[Judged]], notes: Sequence[str]) -> None:
    """Write the report: the table, latency against deadline, and every picture with its decision."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in COLUMNS)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in table_row(row)) + "</tr>" for row in scores
    )
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>edgegen demo</title><style>{_STYLE}</style><h1>edgegen demo</h1>",
        "<p>The same requests, one gateway per policy, real pictures. <b>Good</b> means: delivered before the deadline and "
        "everything that the caption says is in the picture, by the judge. Rates with 95 % intervals.</p>",
        f"<table><tr>{head}</tr>{body}</table>",
        "".join(f"<p class=note>{html.escape(note)}</p>" for note in notes),
        f"<img alt='latency against deadline' src='data:image/png;base64,{_latency_chart(runs)}' style='max-width:100%'>",
    ]
    for name, judged in runs.items():
        parts.append(f"<h2>{html.escape(name)}</h2><div class=grid>{''.join(map(_figure, judged))}</div>")
    path.write_text("\n".join(parts) + "</html>\n", encoding="utf-8")


def _figure(judged: Judged) -> str:
    outcome = judged.outcome
    lines = [f"<b>{html.escape(outcome.ask.prompt)}</b>"]
    image = ""
    if outcome.picture is not None:
        item = outcome.item
        image = f"<img alt='' src='data:image/png;base64,{base64.b64encode(outcome.picture).decode()}'>"
        lines.append(f"{item['node']}, {item['model']}, {item['steps']} steps")
        lines.append(f"{outcome.latency_s:.2f} s of {outcome.ask.deadline_s:.2f} s, {outcome.energy_j:.1f} J")
        lines.append(f"<small>{html.escape(item.get('reason', ''))}</small>")
    else:
        lines.append(f"{outcome.status}: <small>{html.escape(outcome.error)}</small>")
    return f"<figure style='border-color:{colour(judged)}'>{image}{'<br>'.join(lines)}</figure>"


def _latency_chart(runs: dict[str, Sequence[Judged]]) -> str:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 * len(runs), 4), layout="constrained")
    for index, (name, judged) in enumerate(runs.items()):
        axes = figure.add_subplot(1, len(runs), index + 1)
        done = [j for j in judged if j.outcome.status == "finished"]
        axes.scatter(
            [j.outcome.ask.deadline_s for j in done],
            [j.outcome.latency_s for j in done],
            c=[colour(j) for j in done],
            s=26,
        )
        longest = max([j.outcome.ask.deadline_s for j in judged], default=1.0)
        axes.plot([0, longest], [0, longest], color="#aaa", linewidth=1)
        axes.set(title=name, xlabel="deadline [s]", ylabel="latency [s]")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return base64.b64encode(buffer.getvalue()).decode()
