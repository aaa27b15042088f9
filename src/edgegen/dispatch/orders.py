"""From a choice to commands: the start with its prediction, and the models in memory."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from edgegen.dispatch.books import Books, Run, speed_at
from edgegen.dispatch.catalog import Catalog
from edgegen.dispatch.choices import Table
from edgegen.dispatch.deciding import Choice
from edgegen.dispatch.messages import Command, Evict, Load, Retarget, Start


class Orders:
    """Gives orders to the nodes and books them."""

    def __init__(self, books: Books):
        self.books = books

    @property
    def catalog(self) -> Catalog:
        """The names and rows of this moment."""
        return self.books.catalog

    def start(
        self, table: Table, at: int, choice: Choice, *, attempt: int, policy: str, now_s: float
    ) -> Iterator[Command]:
        """Start a request of a table as it was chosen, after what makes room for its model."""
        option, row = choice.option, table.rows[at]
        request = row.request
        assert option is not None
        node, model, steps = table.names(at, option)
        book = self.books.nodes[node]
        yield from self._make_room(node, model)
        speed = speed_at(book.spec, model, choice.clock)
        wait_s, load_s = book.backlog_s(now_s), 0.0 if model in book.resident else speed.load_s
        generate_s = (speed.fixed_s + (steps - row.kept) * speed.step_s) * book.slowness.factor
        split = table.split(at, option, clock=choice.clock)
        made_s = max(wait_s, split.upload_s) + load_s + generate_s
        downlink_s = max(0.0, book.downlink_s(now_s) - made_s) if split.download_s > 0 else 0.0
        waited_s = max(0.0, now_s - request.arrived_s)
        split = dataclasses.replace(
            split,
            queue_s=max(0.0, wait_s - split.upload_s) + waited_s + downlink_s,
            load_s=load_s,
            generate_s=generate_s,
        )
        start = Start(
            id=request.id,
            node=node,
            model=model,
            steps=steps,
            seed=request.seed,
            attempt=attempt,
            # A started request has the link to itself: transfers of a node take turns at the full rate.
            uplink_share=1.0,
            downlink_share=1.0,
            compute_share=choice.clock,
            quality=table.quality(at, option),
            predicted=split,
            reason=table.reason(at, option, split.total_s, policy, choice.note),
            step_s=speed.step_s,
            fixed_s=speed.fixed_s,
            from_step=row.kept,
        )
        self.books.begin(row, start, now_s)
        yield start

    def retarget(self, table: Table, at: int, choice: Choice, run: Run, *, why: str = "") -> Iterator[Command]:
        """Let a started request finish with the number of steps that was chosen, if that is another one."""
        start, option = run.start, choice.option
        if option is None:
            return
        node, model, steps = table.names(at, option)
        late = run.generated or steps <= run.step
        if late or steps == start.steps or (node, model) != (start.node, start.model):
            return
        generate_s = run.fixed_s + (steps - start.from_step) * run.step_s
        scale = generate_s / start.predicted.generate_s
        predicted = dataclasses.replace(
            start.predicted,
            generate_s=generate_s,
            node_energy_j=start.predicted.node_energy_j * scale,
            money_usd=start.predicted.money_usd * scale,
        )
        why = why or ("others wait" if steps < start.steps else "there is time")
        reason = f"{steps} instead of {start.steps} steps: {why}"
        command = Retarget(start.id, node, steps, table.quality(at, option), predicted, reason)
        self.books.retarget(start.id, command)
        yield command

    def _make_room(self, node: str, model: str) -> Iterator[Command]:
        book = self.books.nodes[node]
        if model in book.resident or model in book.loading:
            return
        for name in self.books.room_for(node, model):
            book.resident.discard(name)
            yield Evict(node, name)

    def keep(self, table: Table, wanted: np.ndarray) -> Iterator[Command]:
        """Load and evict as the policy wishes, on servers and as far as nothing that runs is disturbed."""
        for row, spec in enumerate(self.catalog.servers, start=1):
            book = self.books.nodes[spec.name]
            in_use = {run.start.model for run in book.runs.values()}
            for name, at in self.catalog.models.items():
                had, wants = bool(table.state.nodes.resident[row, at]), bool(wanted[row, at])
                if had and not wants and name not in in_use:
                    book.resident.discard(name)
                    yield Evict(spec.name, name)
                possible = book.alive and name in spec.speeds and name not in book.loading
                if wants and not had and possible and not self.books.room_for(spec.name, name):
                    book.loading.add(name)
                    yield Load(spec.name, name)
