"""Pictures of a plan: who goes where, how each server is divided, and how near everybody is to the limits."""

from pathlib import Path
from typing import Any

import numpy as np

from edgegen.core.errors import InputError
from edgegen.experiments.figures import COLOURS, GREY, RED, bare, save
from edgegen.experiments.planning import Planned, errors_of
from edgegen.plan.certified.instance import LOCAL, REFUSED

MOST_NAMED = 60  # users with a name beside their mark; more would be a grey bar


def draw_plan(planned: Planned, folder: Path) -> list[Path]:
    """Write the pictures into a folder and return their paths.

    **Raises** `InputError` when the folder cannot be written.
    """
    from matplotlib.figure import Figure  # not pyplot: no window, no global state

    pictures = {"assignment": _assignment, "shares": _shares, "limits": _limits}
    if planned.instance.users == 0:
        raise InputError("there is nothing to draw: the scenario has no users", param="--pictures")
    written = []
    for name, draw in pictures.items():
        figure = Figure(layout="constrained")
        draw(figure, planned)
        written.append(save(figure, Path(folder) / f"{name}.png"))
    return written


def colour(node: int) -> str:
    """Return the colour of a node: grey for devices, one of ten for servers, red for refusals."""
    return {LOCAL: GREY, REFUSED: RED}.get(node) or COLOURS[(node - 1) % len(COLOURS)]


def _order(planned: Planned) -> np.ndarray:
    """Return the users sorted by where they go: servers first, then devices, then the refused."""
    node = planned.plan.node
    rank = np.where(node > LOCAL, node, np.where(node == LOCAL, node.max() + 1, node.max() + 2))
    return np.lexsort((np.arange(node.size), rank))


def _assignment(figure: Any, planned: Planned) -> None:
    """Users on the left, nodes on the right; a line is as wide as the share of the server's clock."""
    plan, instance, names = planned.plan, planned.instance, planned.names
    order = _order(planned)
    named = order.size <= MOST_NAMED
    figure.set_size_inches(9, min(max(4.0, 0.27 * order.size + 1.2), 17))
    axes = figure.subplots()
    y = {int(n): 1 - (k + 0.5) / order.size for k, n in enumerate(order)}
    nodes = [*range(1, instance.servers + 1), LOCAL, *([REFUSED] if (plan.node == REFUSED).any() else [])]
    right = {node: 1 - (k + 0.5) / len(nodes) for k, node in enumerate(nodes)}
    for n in order:
        node = int(plan.node[n])
        share = plan.clock_hz[n] / instance.server_hz[node - 1] if node > LOCAL else 0.15
        bend = np.linspace(0, 1, 40)
        height = y[int(n)] + (right[node] - y[int(n)]) * (3 * bend**2 - 2 * bend**3)
        axes.plot(bend, height, color=colour(node), linewidth=0.6 + 9 * share, alpha=0.55, solid_capstyle="butt")
    axes.scatter(np.zeros(order.size), [y[int(n)] for n in order], c=[colour(int(plan.node[n])) for n in order], s=18)
    if named:
        for n in order:
            words = f"{names.users[n]}" + (f", {plan.steps[n]} steps" if plan.node[n] != REFUSED else "")
            axes.text(-0.02, y[int(n)], words, ha="right", va="center", fontsize=8)
    for node in nodes:
        count = int((plan.node == node).sum())
        axes.scatter([1], [right[node]], marker="s", s=160, color=colour(node), zorder=3)
        words = {LOCAL: "own device", REFUSED: "refused"}.get(node) or names.servers[node - 1]
        axes.text(
            1.03, right[node], f"{words}\n{count} user{'' if count == 1 else 's'}", ha="left", va="center", fontsize=9
        )
    axes.set(xlim=(-0.42 if named else -0.05, 1.3), ylim=(-0.01, 1.01))
    axes.axis("off")
    axes.set_title(f"{planned.file.name}: who goes where (width: share of the server's clock)", fontsize=11)


def _shares(figure: Any, planned: Planned) -> None:
    """Each server's clock, uplink and downlink, divided among its users."""
    plan, instance, names = planned.plan, planned.instance, planned.names
    used = [m for m in range(instance.servers) if (plan.node == m + 1).any()]
    figure.set_size_inches(10, max(2.2, 1.25 * len(used) + 1.2))
    axes = figure.subplots()
    ticks, labels = [], []
    for row, m in enumerate(used):
        members = np.flatnonzero(plan.node == m + 1)
        capacity = (instance.server_hz[m], instance.uplink_hz[m], instance.downlink_hz[m])
        for k, shares in enumerate((plan.clock_hz, plan.uplink_hz, plan.downlink_hz)):
            at, left = 4 * row + k, 0.0
            for position, n in enumerate(members):
                width = 100 * shares[n] / capacity[k]
                tone = 0.9 if position % 2 == 0 else 0.6
                axes.barh(at, width, left=left, color=colour(m + 1), alpha=tone, edgecolor="white", height=0.86)
                if width > 1.05 * len(names.users[n]) and width > 4:
                    axes.text(
                        left + width / 2, at, names.users[n], ha="center", va="center", fontsize=7, color="#1c1f24"
                    )
                left += width
            ticks.append(at)
            labels.append(f"{names.servers[m]}  {('clock', 'uplink', 'downlink')[k]}")
    axes.set_yticks(ticks, labels, fontsize=8)
    axes.set(xlabel="percent of the capacity", xlim=(0, 100))
    axes.margins(y=0.01)
    axes.invert_yaxis()
    bare(axes)
    axes.set_title(f"{planned.file.name}: how the servers are divided", fontsize=11)
    if not used:
        axes.text(50, 0, "nobody is on a server", ha="center", va="center")


def _limits(figure: Any, planned: Planned) -> None:
    """Steps, error, and the used part of deadline and energy budget of every user."""
    plan, instance, names = planned.plan, planned.instance, planned.names
    order = _order(planned)
    at = np.arange(order.size)
    figure.set_size_inches(11, min(max(3.0, 0.24 * order.size + 1.4), 17))
    columns = figure.subplots(1, 4, sharey=True)
    colours = [colour(int(plan.node[n])) for n in order]
    with np.errstate(invalid="ignore"):
        values = (
            np.where(plan.node == REFUSED, 0, plan.steps),
            errors_of(instance, plan),
            100 * planned.audit.total_s / instance.deadline_s,
            100 * planned.audit.device_energy_j / instance.energy_j,
        )
    titles = ("denoising steps", "average error", "deadline used (%)", "energy budget used (%)")
    for axes, value, title in zip(columns, values, titles, strict=True):
        axes.barh(at, np.nan_to_num(value[order]), color=colours, height=0.8)
        axes.set_title(title, fontsize=9)
        bare(axes)
        if "%" in title:
            axes.set_xlim(0, 104)
            axes.axvline(100, color=RED, linewidth=1)
        axes.margins(y=0.01)
    columns[0].xaxis.get_major_locator().set_params(integer=True)
    columns[0].invert_yaxis()
    if order.size <= MOST_NAMED:
        columns[0].set_yticks(at, [f"{names.users[n]} → {names.node(int(plan.node[n]))}" for n in order], fontsize=7)
    else:
        columns[0].set_yticks([])
    figure.suptitle(f"{planned.file.name}: what everybody gets, and how near the limits are", fontsize=11)
