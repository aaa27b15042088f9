"""Options read by people and by the dispatcher: the best one, the least bad one, offers, alternatives, reasons."""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from edgegen.core.state import LOCAL, State
from edgegen.dispatch.catalog import Catalog, TaskRow
from edgegen.dispatch.messages import Split
from edgegen.physics.options import Options, options


class Option(NamedTuple):
    """One way to run a request: node and model row, and the position among the offered step counts."""

    node: int
    model: int
    step: int


@dataclasses.dataclass(frozen=True)
class Table:
    """The options of some requests at one moment."""

    catalog: Catalog
    rows: Sequence[TaskRow]
    state: State
    options: Options

    @staticmethod
    def of(catalog: Catalog, rows: Sequence[TaskRow], state: State) -> "Table":
        """Tabulate, minding wishes that the State's own columns cannot express."""
        table = options(state)
        if not all(row.plain for row in rows):
            permitted = np.zeros(table.possible.shape[:3], dtype=bool)
            permitted[: len(rows)] = [row.permitted for row in rows]
            possible = table.possible & permitted[..., None]
            for at, row in enumerate(rows):
                if row.kept and row.request.wish.steps is not None:  # the State says a most; the wish is exact
                    possible[at] &= catalog.steps == row.request.wish.steps
            feasible, cost = table.feasible & possible, np.where(possible, table.cost, np.inf)
            table = dataclasses.replace(table, possible=possible, feasible=feasible, cost=cost)
        return Table(catalog, rows, state, table)

    def feasible(self, at: int) -> bool:
        """Whether any option of a request meets its limits."""
        return self._some_feasible[at]

    def possible(self, at: int) -> bool:
        """Whether a request can run anywhere at all now."""
        return self._some_possible[at]

    @functools.cached_property
    def _some_feasible(self) -> list[bool]:
        return self.options.feasible.any(axis=(1, 2, 3)).tolist()

    @functools.cached_property
    def _some_possible(self) -> list[bool]:
        return self.options.possible.any(axis=(1, 2, 3)).tolist()

    def hopeless(self, at: int, grace: float) -> bool:
        """Whether every option breaks the limits of a request by more than this share."""
        return not self.feasible(at) and float(self.excess(at).min()) > grace

    def slack_s(self, at: int) -> float:
        """Return for how long the fastest option stays within the deadline if nothing else changes."""
        fastest_s = float(np.where(self.options.possible[at], self.options.total_s[at], np.inf).min())
        return max(0.0, self.rows[at].request.limits.deadline_s - float(self.state.tasks.age_s[at]) - fastest_s)

    def excess(self, at: int) -> np.ndarray:
        """float[N, M, S]: by how much an option breaks the limits, relative to them; inf where not possible."""
        table, limits = self.options, self.rows[at].request.limits
        age_s = float(self.state.tasks.age_s[at])
        total = _over(age_s + table.total_s[at], limits.deadline_s)
        total += _over(table.device_energy_j[at], limits.energy_j) + _over(table.money_usd[at], limits.money_usd)
        if limits.min_quality > 0:
            total += np.maximum(0.0, 1.0 - table.quality[at][None] / limits.min_quality)
        return np.where(table.possible[at], total, np.inf)

    def best(self, at: int, *, within: np.ndarray | None = None) -> Option | None:
        """Return the cheapest option within the limits, otherwise the one that breaks them least; None if there is none.

        `within` (bool[N, M, S]) restricts the search.
        """
        possible = self.options.possible[at] if within is None else self.options.possible[at] & within
        if not possible.any():
            return None
        feasible = possible & self.options.feasible[at]
        if feasible.any():
            return _option(np.where(feasible, self.options.cost[at], np.inf))
        excess = np.where(possible, self.excess(at), np.inf)
        least = possible & (excess <= excess.min() + 1e-12)
        return _option(np.where(least, self.options.cost[at], np.inf))

    def split(self, at: int, option: Option, *, clock: float | None = None) -> Split:
        """Return the predicted split of an option, at another clock where one is given."""
        table, (node, model, _) = self.options, option
        clock = float(table.clock.item(at, *option)) if clock is None else clock
        wait_s, load_s = table.wait_s.item(at, node), table.load_s.item(node, model)
        upload_s, work_s = table.upload_s.item(at, node), table.work_s.item(at, *option)
        energy_j = table.device_energy_j.item(at, *option)
        if node == LOCAL:
            energy_j = float(self.state.tasks.device_power_w[at]) * clock**2 * work_s
        made_s = max(wait_s, upload_s) + load_s + work_s / clock
        return Split(
            upload_s=upload_s,
            queue_s=max(0.0, wait_s - upload_s) + max(0.0, table.link_s.item(node) - made_s),
            load_s=load_s,
            generate_s=work_s / clock,
            download_s=table.download_s.item(at, node),
            device_energy_j=energy_j,
            node_energy_j=table.node_energy_j.item(at, *option),
            money_usd=table.money_usd.item(at, *option),
        )

    def quality(self, at: int, option: Option) -> float:
        """Return the expected quality of an option."""
        return self.options.quality.item(at, option.model, option.step)

    def names(self, at: int, option: Option) -> tuple[str, str, int]:
        """Return an option's node, model and steps for people."""
        node = self.catalog.node_name(option.node, self.rows[at].request.origin)
        return node, self.catalog.model_names[option.model], self.catalog.fleet.steps[option.step]

    def offer(self, at: int) -> dict | None:
        """Return the closest thing that could run, or None when nothing can."""
        option = self.best(at)
        if option is None:
            return None
        node, model, steps = self.names(at, option)
        return {
            "node": node,
            "model": model,
            "steps": steps,
            "total_s": self.state.tasks.age_s.item(at) + self.options.total_s.item(at, *option),
            "quality": self.quality(at, option),
            "energy_j": self.options.device_energy_j.item(at, *option),
        }

    def shortfall(self, at: int, option: Option) -> str:
        """Say which limits an option breaks, or an empty text."""
        limits, table = self.rows[at].request.limits, self.options
        total_s = self.state.tasks.age_s.item(at) + table.total_s.item(at, *option)
        energy_j, money = table.device_energy_j.item(at, *option), table.money_usd.item(at, *option)
        quality = self.quality(at, option)
        broken = []
        if total_s > limits.deadline_s * (1 + 1e-6):
            broken.append(f"would need {total_s:.2f} s of {limits.deadline_s:g} s")
        if quality * (1 + 1e-6) < limits.min_quality:
            broken.append(f"would reach quality {quality:.2f} of {limits.min_quality:g}")
        if energy_j > limits.energy_j * (1 + 1e-6):
            broken.append(f"would take {energy_j:.2f} J of {limits.energy_j:g} J from the device")
        if money > limits.money_usd * (1 + 1e-6):
            broken.append(f"would cost {money:.2g} USD of {limits.money_usd:g} USD")
        return " and ".join(broken)

    def alternatives(self, at: int, chosen: Option | None) -> list[dict]:
        """Return the best way to use every other node and model, with the reason why it was not taken."""
        entries = []
        possible = self.options.possible[at]
        for node, model in np.argwhere(possible.any(axis=2)):
            if chosen is not None and (node, model) == (chosen.node, chosen.model):
                continue
            within = np.zeros(possible.shape, dtype=bool)
            within[node, model] = True
            option = self.best(at, within=within)
            assert option is not None
            node_name, model_name, steps = self.names(at, option)
            split = self.split(at, option)
            entries.append(
                {
                    "node": node_name,
                    "model": model_name,
                    "steps": steps,
                    "predicted": split_plain(split),
                    "quality_estimate": self.quality(at, option),
                    "feasible": bool(self.options.feasible[at][option]),
                    "why_not": self.shortfall(at, option) or self.comparison(at, option, chosen),
                }
            )
        return entries

    def comparison(self, at: int, option: Option, chosen: Option | None) -> str:
        """Say what an option within the limits gives and takes against the chosen one."""
        if chosen is None:
            return "the policy left the request waiting"
        quality = self.quality(at, option) - self.quality(at, chosen)
        table = self.options
        more_s = table.total_s.item(at, *option) - table.total_s.item(at, *chosen)
        more_j = table.device_energy_j.item(at, *option) - table.device_energy_j.item(at, *chosen)
        parts = [f"gives {quality:+.2f} quality for {abs(more_s):.2f} s {'more' if more_s >= 0 else 'less'}"]
        if abs(more_j) >= 0.05:
            parts.append(f"takes {abs(more_j):.2f} J {'more' if more_j > 0 else 'less'} from the device")
        return " and ".join(parts)

    def reason(self, at: int, option: Option, total_s: float, policy: str, note: str = "") -> str:
        """Return one sentence: what was chosen, whether it meets the limits, and what the other nodes would do."""
        node, model, steps = self.names(at, option)
        deadline_s = self.rows[at].request.limits.deadline_s
        predicted = f"predicted {total_s:.2f} s, quality {self.quality(at, option):.2f}"
        if deadline_s < math.inf:
            verdict = "meets" if total_s <= deadline_s * (1 + 1e-6) else "misses"
            predicted = f"{verdict} {deadline_s:g} s ({predicted})"
        sentence = f"{node} with {model} at {steps} step{'s' if steps > 1 else ''}: {predicted}"
        for other in self._best_per_node(at):
            if other.node != option.node:
                name, its_model, its_steps = self.names(at, other)
                told = self.shortfall(at, other) or self.comparison(at, other, option)
                sentence += f"; {name} ({its_model}, {its_steps}) {told}"
        return f"{sentence}. Decided by {policy}{'; ' + note if note else ''}."

    def _best_per_node(self, at: int) -> list[Option]:
        """Return the best option of every node that can run a request."""
        possible, feasible = self.options.possible[at], self.options.feasible[at]
        score = np.where(feasible, self.options.cost[at], np.inf)
        if not feasible.any(axis=(1, 2)).all():
            # After every option within the limits, the others by how little they break them.
            score = np.where(possible & ~feasible, 1e9 * (1.0 + self.excess(at)), score)
        flat = score.reshape(len(score), -1).argmin(axis=1).tolist()
        steps = possible.shape[2]
        best = [Option(node, *divmod(cell, steps)) for node, cell in enumerate(flat)]
        return [option for option in best if possible[option]]


def split_plain(split: Split) -> dict[str, float]:
    """Return a split as plain data with its total."""
    return {**dataclasses.asdict(split), "total_s": split.total_s}


def _over(value: np.ndarray, limit: float) -> np.ndarray:
    """Return by how much values exceed a limit, relative to it."""
    if math.isinf(limit):
        return np.zeros_like(value)
    return np.maximum(0.0, value / max(limit, 1e-9) - 1.0)


def _option(cost: np.ndarray) -> Option:
    flat = int(np.argmin(cost))
    return Option(*(int(at) for at in np.unravel_index(flat, cost.shape)))
