"""The only map between names and rows, and the builder of States for the live side.

Everything that does not change between two decisions is built once, in NumPy float64 and int32; a State is then made
from a few small columns. Several devices may ask: node row 0 (`LOCAL`) is each request's own device, the other nodes
have the rows 1, 2, ... in the order of the fleet.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from edgegen.core.arrays import next_power_of_two
from edgegen.core.errors import InputError, UnknownNameError
from edgegen.core.state import ANY, LOCAL, Links, Models, Nodes, State, Tasks
from edgegen.dispatch.fleet import TIERS, Fleet, Link, ModelSpec, NodeSpec
from edgegen.dispatch.messages import Kept, Request, Start, Wish
from edgegen.dispatch.rows import Granted, NodeLoad, TaskRow

LEAST_TASKS = 8  # task tables have at least this many rows, so that few shapes occur
_TASK_COLUMNS = tuple(field.name for field in dataclasses.fields(Tasks))
_FLOATS = 14  # static float columns of a task, in the order of `_task_floats`


class NothingDrawsError(UnknownNameError):
    """Prompts of a category that no model here can draw."""

    def __init__(self, category: str, known: Iterable[str]):
        super().__init__("category", category, known, param="prompt")
        self.args = (
            f"nothing here can draw a prompt of the category {category!r}: no model was measured on such prompts;"
            f" models here draw: {', '.join(self.known)}",
        )


class Catalog:
    """Names, rows and everything static about a fleet."""

    def __init__(self, fleet: Fleet):
        self.fleet = fleet
        self.devices: tuple[NodeSpec, ...] = tuple(n for n in fleet.nodes if n.tier == "device")
        self.servers: tuple[NodeSpec, ...] = tuple(n for n in fleet.nodes if n.tier != "device")
        self.nodes: dict[str, NodeSpec] = {node.name: node for node in fleet.nodes}
        self.models: dict[str, int] = {model.name: row for row, model in enumerate(fleet.models)}
        self.model_names: tuple[str, ...] = tuple(self.models)
        self._check()
        self._device_rows = {node.name: row for row, node in enumerate(self.devices)}
        self._server_rows = {node.name: row for row, node in enumerate(self.servers, start=1)}
        self._categories = {name: row for row, name in enumerate(fleet.categories)}
        # [C]: by position, the models that draw such prompts; None where all of them do
        self._able = [self._drawing(row) for row in range(len(fleet.categories))]
        self.node_count = next_power_of_two(1 + len(self.servers))
        self.model_count = next_power_of_two(len(fleet.models))
        self.steps = np.asarray(fleet.steps, dtype=np.int32)
        self.step_rows: dict[int, int] = {count: row for row, count in enumerate(fleet.steps)}
        self.speed = self._speed_table()
        self._models = self._build_models()
        self._links = self._build_links()
        self._tiers = np.array(["", *(n.tier for n in self.servers)] + [""] * self._spare)
        self._per_node = self._build_per_node()
        self._scales = [self._device_scale(row) for row in range(len(self.devices))]
        self._granted = functools.lru_cache(maxsize=256)(self._grant)  # requests mostly wish the same
        self._models_when = functools.lru_cache(maxsize=64)(self._slowed)  # and machines are mostly as fast as before
        self.digest = _digest(_arrays(self._models), self._links, self.steps, *self._per_node)

    # names and rows

    def device_row(self, name: str) -> int:
        """Return the position of a device, or say which devices there are."""
        if name not in self._device_rows:
            raise UnknownNameError("device", name, self._device_rows, param="edgegen.origin")
        return self._device_rows[name]

    def node_name(self, row: int, origin: str) -> str:
        """Return the name of a node row as seen from a request's device."""
        return origin if row == LOCAL else self.servers[row - 1].name

    def node_row(self, name: str) -> int:
        """Return the row of a node; every device is `LOCAL` to itself."""
        return LOCAL if name in self._device_rows else self._server_rows[self.node(name).name]

    def node(self, name: str) -> NodeSpec:
        """Return a node by name, or say which nodes there are."""
        if name not in self.nodes:
            raise UnknownNameError("node", name, self.nodes, param="edgegen.nodes")
        return self.nodes[name]

    def model(self, name: str) -> ModelSpec:
        """Return a model by name, or say which models there are."""
        if name not in self.models:
            raise UnknownNameError("model", name, self.models, param="model")
        return self.fleet.models[self.models[name]]

    def path(self, origin: str, node: str) -> Link:
        """Return the path between a device and a node."""
        return self.nodes[node].link.through(self.nodes[origin].link)

    # requests

    def row(self, request: Request) -> TaskRow:
        """Turn a request into rows and numbers.

        **Raises** `InputError` (with `param`) when it names what does not exist, or contradicts itself.
        """
        origin, granted = self.device_row(request.origin), self._granted_to(request)
        category = self._categories[request.category]
        numbers = (request.number, origin, category, granted.model, granted.steps)
        return TaskRow(
            request=request,
            origin=origin,
            ints=np.array(numbers, dtype=np.int32),
            floats=np.array(self._task_floats(request, origin), dtype=np.float64),
            allowed=granted.allowed,
            permitted=granted.permitted,
            plain=granted.plain,
        )

    def carried_over(self, row: TaskRow) -> TaskRow:
        """Return a row of a catalog with fewer models as one of this.

        Who named no model may have a new one, too, unless there is a checkpoint to go on from.
        """
        if row.kept:
            more = self.model_count - row.permitted.shape[1]
            permitted = np.pad(row.permitted, ((0, 0), (0, more)))
            return dataclasses.replace(row, permitted=permitted, anew=self.carried_over(row.anew) if row.anew else None)
        granted, ints = self._granted_to(row.request), row.ints.copy()
        ints[3] = granted.model
        permitted = granted.permitted & row.allowed[:, None]
        plain = bool((self._told(row.allowed, granted.model) == permitted).all())
        return dataclasses.replace(row, ints=ints, permitted=permitted, plain=plain)

    def nodes_of(self, row: TaskRow) -> frozenset[str]:
        """Return the names of the nodes that a request may run on."""
        origin, rows = row.request.origin, np.flatnonzero(row.permitted.any(axis=1)).tolist()
        return frozenset(self.node_name(at, origin) for at in rows)

    def without(self, row: TaskRow, node: str) -> TaskRow:
        """Return a request that may no longer run on a node."""
        allowed, permitted = row.allowed.copy(), row.permitted.copy()
        allowed[self.node_row(node)] = False
        permitted[self.node_row(node)] = False
        anew = self.without(row.anew, node) if row.anew else None
        return dataclasses.replace(row, allowed=allowed, permitted=permitted, anew=anew)

    def under_way(self, row: TaskRow, start: Start, most: int, left_bits: float) -> TaskRow:
        """Return a started request: it stays where it is with its model and at most its steps, and has `left_bits` to send."""
        node, model = self.node_row(start.node), self.models[start.model]
        ints, floats = row.ints.copy(), row.floats.copy()
        ints[3:] = model, most
        floats[0] = left_bits
        allowed = np.arange(self.node_count) == node
        permitted = allowed[:, None] & (np.arange(self.model_count) == model)[None, :]
        return dataclasses.replace(row, ints=ints, floats=floats, allowed=allowed, permitted=permitted, plain=True)

    def continued(self, row: TaskRow, kept: Kept) -> TaskRow:
        """Return a request that goes on from a checkpoint: with the model that made it and at most the steps planned then.

        Without such a model on any node that it may run on, or with nothing left to do, it is as it was.
        """
        row = row.anew or row
        model = self.models.get(kept.model)
        if model is None or not row.permitted[:, model].any() or not any(s > kept.step for s in self.fleet.steps):
            return row
        ints, floats = row.ints.copy(), row.floats.copy()
        ints[3:] = model, kept.steps
        floats[0] += kept.bits
        permitted = row.permitted & (np.arange(self.model_count) == model)[None, :]
        return dataclasses.replace(
            row,
            ints=ints,
            floats=floats,
            permitted=permitted,
            plain=bool((self._told(row.allowed, model) == permitted).all()) and row.request.wish.steps is None,
            kept=kept.step,
            anew=row,
        )

    def state(
        self,
        rows: Sequence[TaskRow],
        now_s: float,
        load: NodeLoad,
        planned: Sequence[str | None] = (),
        done: Sequence[float] = (),
    ) -> State:
        """Return the State of these requests at this moment.

        `planned` names the node that each was last planned for. The last rows are started: `done` are their steps.
        """
        count, size = len(rows), next_power_of_two(len(rows), least=LEAST_TASKS)
        ints = np.zeros((5, size), dtype=np.int32)
        floats = np.zeros((_FLOATS, size))
        allowed = np.zeros((size, self.node_count), dtype=bool)
        live = np.zeros(size, dtype=bool)
        live[:count] = True
        for at, row in enumerate(rows):
            ints[:, at] = row.ints
            floats[:, at] = row.floats
            allowed[at] = row.allowed
        origin = ints[1]
        allowed[:, LOCAL] &= load.device_live[origin]
        links = self._links.take(origin, axis=1)
        tasks = Tasks(
            live=live,
            number=ints[0],
            origin=origin,
            category=ints[2],
            model=ints[3],
            steps=ints[4],
            input_bits=floats[0],
            output_bits=floats[1],
            age_s=np.where(live, now_s - floats[2], 0.0),
            deadline_s=floats[3],
            min_quality=floats[4],
            energy_budget_j=floats[5],
            money_budget_usd=floats[6],
            allowed=allowed,
            device_step_scale=floats[7] * load.device_slowness[origin],
            device_power_w=floats[8],
            transmit_power_w=floats[9],
            local_backlog_s=load.device_backlog_s[origin],
            planned=self._planned(planned, size),
            done_steps=np.concatenate([np.full(count - len(done), -1.0), done, np.full(size - count, -1.0)]),
            kept_steps=np.concatenate([[float(row.kept) for row in rows], np.zeros(size - count)]),
            weights=floats[10:14].T,
        )
        return State(
            tasks=tasks,
            nodes=self._nodes(load),
            links=Links(links[0], links[1], links[2], links[2], links[3]),
            models=self._models_when(load.slowness),
            steps=self.steps,
            clock_s=np.float64(now_s),
        )

    def _planned(self, names: Sequence[str | None], size: int) -> NDArray[np.int32]:
        """int[T]: node rows, -1 where no node is named."""
        rows = np.full(size, -1, dtype=np.int32)
        for at, name in enumerate(names):
            if name is not None:
                rows[at] = self.node_row(name)
        return rows

    def state_digest(self, state: State) -> str:
        """Return a short SHA-256 over the bytes of everything in the State.

        Types are fixed, and the shapes follow from the catalog (part of the hash) and the number of bytes.
        """
        nodes, tasks = state.nodes, state.tasks
        columns = [getattr(tasks, name).tobytes() for name in _TASK_COLUMNS]
        columns += [
            nodes.live.tobytes(),
            nodes.backlog_s.tobytes(),
            nodes.downlink_backlog_s.tobytes(),
            nodes.resident.tobytes(),
        ]
        if state.models is not self._models:
            columns += [state.models.step_s.tobytes(), state.models.fixed_s.tobytes()]
        columns.append(np.float64(state.clock_s).tobytes())
        return hashlib.sha256(self.digest.encode() + b"".join(columns)).hexdigest()[:32]

    # building

    @property
    def _spare(self) -> int:
        return next_power_of_two(1 + len(self.servers)) - 1 - len(self.servers)

    def _check(self) -> None:
        if not self.devices:
            raise InputError("a fleet needs at least one node of tier 'device': that is where requests come from")
        if not self.fleet.models:
            raise InputError("a fleet needs at least one model")
        for node in self.fleet.nodes:
            for model in node.speeds:
                if model not in self.models:
                    raise UnknownNameError("model", model, self.models, param=f"nodes.{node.name}.models")

    def _speed_table(self) -> NDArray[np.float64]:
        """float[D, N, M, 3]: step, fixed and load seconds seen from each device; inf where a model cannot run."""
        table = np.full((len(self.devices), self.node_count, self.model_count, 3), np.inf)
        for at, device in enumerate(self.devices):
            for row, node in enumerate((device, *self.servers)):
                for name, speed in node.speeds.items():
                    table[at, row, self.models[name]] = (speed.step_s, speed.fixed_s, speed.load_s)
        return table

    def _build_models(self) -> Models:
        shape = (self.model_count, len(self.fleet.categories), len(self.fleet.steps))
        quality, memory = np.zeros(shape), np.zeros(self.model_count)
        for row, model in enumerate(self.fleet.models):
            memory[row] = model.memory_bytes
            for category, values in enumerate(model.quality):
                if values:
                    quality[row, category] = values
        # Row LOCAL holds the first device that has a model; the other devices are a factor away (`device_step_scale`).
        times = np.min(self.speed, axis=0)
        times[LOCAL] = self._reference_device()
        available = times[:, :, 0] < np.inf
        times = np.where(np.isfinite(times), times, 1.0)
        return Models(
            live=np.arange(self.model_count) < len(self.fleet.models),
            quality=quality,
            step_s=times[:, :, 0],
            fixed_s=times[:, :, 1],
            load_s=times[:, :, 2],
            available=available,
            memory_bytes=memory,
        )

    def _slowed(self, slowness: tuple[float, ...]) -> Models:
        """Return the models as the nodes run them now; load times stay, they come from disks."""
        if all(factor == 1.0 for factor in slowness):
            return self._models
        factor, known = np.array(slowness)[:, None], self._models
        return dataclasses.replace(known, step_s=known.step_s * factor, fixed_s=known.fixed_s * factor)

    def _reference_device(self) -> NDArray[np.float64]:
        """float[M, 3]: times of each model on the first device that has it."""
        local = self.speed[:, LOCAL]
        first = np.argmax(local[:, :, 0] < np.inf, axis=0)
        return local[first, np.arange(self.model_count)]

    def _device_scale(self, device: int) -> float:
        """How many times longer a device takes than row LOCAL says, over the models that it has."""
        own, reference = self.speed[device, LOCAL, :, 0], self._models.step_s[LOCAL]
        has = own < np.inf
        return float(np.sum(own[has]) / np.sum(reference[has])) if has.any() else 1.0

    def _build_links(self) -> NDArray[np.float64]:
        """float[4, D, N]: uplink [bit/s], downlink [bit/s], signal-to-noise ratio, round trip [s]."""
        table = np.zeros((4, len(self.devices), self.node_count))
        table[:3] = 1.0
        for at, device in enumerate(self.devices):
            for row, node in enumerate(self.servers, start=1):
                path = node.link.through(device.link)
                table[:, at, row] = (path.uplink_bps, path.downlink_bps, path.snr, path.rtt_s)
        return table

    def _build_per_node(self) -> tuple[NDArray, ...]:
        """Return shared, memory, power and price per node row; row LOCAL speaks for every device."""
        adjustable = all(device.adjustable_clock for device in self.devices)
        spare = [0.0] * self._spare
        memory = [min(device.memory_bytes for device in self.devices), *(n.memory_bytes for n in self.servers)]
        power = [0.0, *(n.power_w for n in self.servers)]
        price = [0.0, *(n.price_usd_per_s for n in self.servers)]
        shared = np.zeros(self.node_count, dtype=bool)
        shared[LOCAL] = adjustable
        return shared, np.array(memory + spare), np.array(power + spare), np.array(price + spare)

    def _nodes(self, load: NodeLoad) -> Nodes:
        shared, memory, power, price = self._per_node
        return Nodes(
            live=load.live,
            shared=shared,
            backlog_s=load.backlog_s,
            downlink_backlog_s=load.downlink_backlog_s,
            resident=load.resident,
            memory_bytes=memory,
            power_w=power,
            price_usd_per_s=price,
        )

    def _task_floats(self, request: Request, origin: int) -> tuple[float, ...]:
        limits, device = request.limits, self.devices[origin]
        return (
            request.input_bits,
            request.output_bits,
            request.arrived_s,
            limits.deadline_s,
            limits.min_quality,
            limits.energy_j,
            limits.money_usd,
            self._scales[origin],
            device.power_w,
            device.transmit_power_w,
            *request.weights,
        )

    # wishes

    def _granted_to(self, request: Request) -> Granted:
        drawn = [name for name, row in self._categories.items() if self._able[row] != ()]
        if request.category not in drawn:
            raise NothingDrawsError(request.category, drawn)
        able = self._able[self._categories[request.category]]
        return self._granted(request.origin, request.wish, None if able is None else request.category)

    def _told(self, allowed: NDArray[np.bool_], model: int) -> NDArray[np.bool_]:
        """bool[N, M]: what the State's own columns permit."""
        told = allowed[:, None] & self._models.available
        return told & (np.arange(self.model_count) == model)[None, :] if model != ANY else told

    def _grant(self, origin: str, wish: Wish, category: str | None) -> Granted:
        """Turn a wish of a device's requests into rows, or say what is wrong with it.

        category: of the prompt, where not every model draws such prompts.
        """
        allowed, wanted = self._allowed(origin, wish), self._wanted_models(wish, category)
        has = self.speed[self._device_rows[origin], :, :, 0] < np.inf
        permitted = allowed[:, None] & wanted[None, :] & has
        self._check_possible(origin, wish, allowed, permitted)
        model = int(np.flatnonzero(wanted)[0]) if (wish.models or category) and np.sum(wanted) == 1 else ANY
        plain = bool((self._told(allowed, model) == permitted).all())
        return Granted(model, self._steps(wish), allowed, permitted, plain)

    def _allowed(self, origin: str, wish: Wish) -> NDArray[np.bool_]:
        """bool[N]: nodes that the wish permits."""
        _known("tier", wish.tiers, TIERS, param="edgegen.tiers")
        allowed = np.zeros(self.node_count, dtype=bool)
        allowed[: 1 + len(self.servers)] = True
        if wish.tiers:
            allowed[1:] &= np.isin(self._tiers[1:], wish.tiers)
            allowed[LOCAL] = "device" in wish.tiers
        if wish.nodes:
            named = [self.node(name) for name in wish.nodes]
            rows = [self._server_rows[n.name] for n in named if n.tier != "device"]
            allowed[1:] &= np.isin(np.arange(1, self.node_count), rows)
            allowed[LOCAL] &= origin in wish.nodes
        if wish.local_only:
            allowed[1:] = False
        return allowed

    def _wanted_models(self, wish: Wish, category: str | None) -> NDArray[np.bool_]:
        """bool[M]: models that the wish permits, and that draw such prompts."""
        _known("model", wish.models, self.models, param="edgegen.models")
        rows = [self.models[name] for name in wish.models] or list(range(len(self.models)))
        if category is not None:
            able = self._able[self._categories[category]] or ()
            rows = [row for row in rows if row in able]
            if not rows:
                raise InputError(
                    f"{' and '.join(wish.models)} cannot draw a prompt of the category {category!r}, on which it was never"
                    f" measured; models that can: {', '.join(self.model_names[row] for row in able)}",
                    param="model",
                )
        return np.isin(np.arange(self.model_count), rows)

    def _drawing(self, category: int) -> tuple[int, ...] | None:
        rows = tuple(row for row, model in enumerate(self.fleet.models) if model.draws(category))
        return None if len(rows) == len(self.fleet.models) else rows

    def _steps(self, wish: Wish) -> int:
        if wish.steps is not None and wish.steps not in self.step_rows:
            offered = ", ".join(str(count) for count in self.fleet.steps)
            raise InputError(f"steps must be 'auto' or one of {offered}, got {wish.steps}", param="edgegen.steps")
        return ANY if wish.steps is None else wish.steps

    def _check_possible(self, origin: str, wish: Wish, allowed: NDArray, permitted: NDArray) -> None:
        if not allowed.any():
            raise InputError(
                f"no node fits nodes={list(wish.nodes)}, tiers={list(wish.tiers)}, "
                f"privacy={'local' if wish.local_only else 'any'} for a request from {origin!r}; "
                "another device than the one that asks is never used",
                param="edgegen.nodes" if wish.nodes else "edgegen.tiers",
            )
        if not permitted.any():
            nodes = [self.node_name(row, origin) for row in np.flatnonzero(allowed).tolist()]
            raise InputError(
                f"none of the nodes {', '.join(nodes)} can run {', '.join(wish.models) or 'any model'}; "
                "permit other nodes or models",
                param="edgegen.models" if wish.models else "edgegen.nodes",
            )


def _known(kind: str, names: Iterable[str], known: Iterable[str], *, param: str) -> None:
    for name in names:
        if name not in known:
            raise UnknownNameError(kind, name, known, param=param)


def _arrays(table: Models) -> list[NDArray]:
    return [getattr(table, field.name) for field in dataclasses.fields(table)]


def _digest(*parts) -> str:
    """Hash arrays by type, shape and bytes, so that equal digests mean equal values."""
    sha = hashlib.sha256()
    for part in parts:
        for value in part if isinstance(part, list) else (part,):
            if isinstance(value, bytes):
                sha.update(value)
                continue
            array = np.asarray(value)
            sha.update(f"{array.dtype.str}{array.shape}".encode())
            sha.update(array.tobytes())
    return sha.hexdigest()[:32]
