"""One planning problem as plain arrays: N users, M servers that divide their clock and their two bands, S options.

An option is a step count, or a model with a step count.

The model is the OQC-style one (reconstructed) of Wang, Liu and Zhao (arXiv:2312.06203). A plan gives every user a node,
a step count and shares; it minimises the sum over users of

    w_q error(steps) + w_t total_s / time_scale_s + w_e device_energy_j / energy_scale_j

within deadlines, energy budgets and the capacities of the servers. Node 0 is the user's own device.
"""

import dataclasses

import numpy as np

from edgegen.core.errors import InputError

LOCAL = 0
REFUSED = -1


@dataclasses.dataclass(frozen=True)
class Instance:
    """The numbers of one problem. Build it with `Instance.build`, which checks them.

    Nodes are numbered 0 (the user's device) to M; columns of per-server arrays belong to nodes 1 to M.
    """

    steps: np.ndarray  # int[S]: the step counts that a plan may choose from, rising for every model
    model: np.ndarray  # int[S], rising: which model takes them; all 0 where each node has only one
    weights: np.ndarray  # float[N, 3]: of error, time and energy
    deadline_s: np.ndarray  # float[N], inf = none
    energy_j: np.ndarray  # float[N], what the device may spend on the item; inf = no limit
    time_scale_s: np.ndarray  # float[N], what time is divided by in the objective
    energy_scale_j: np.ndarray  # float[N], what energy is divided by in the objective
    refusal_cost: np.ndarray  # float[N], cost of not serving the user; inf = everybody must be served
    upload_bits: np.ndarray  # float[N]
    download_bits: np.ndarray  # float[N]
    send_power_w: np.ndarray  # float[N], drawn by the device while it uploads
    device_hz: np.ndarray  # float[N], highest clock of the device
    device_w_per_hz3: np.ndarray  # float[N], power = this x clock^3
    error: np.ndarray  # float[N, 1 + M, S], average error of the result
    cycles: np.ndarray  # float[N, 1 + M, S], clock cycles of the computation, never falling in a model's steps
    allowed: np.ndarray  # bool[N, 1 + M, S], False for what a floor, a missing model or a wish rules out
    fixed_s: np.ndarray  # float[N, 1 + M], seconds that no share changes: round trips, waiting, loading
    up_snr_hz: np.ndarray  # float[N, M], power x gain / noise density; 0 = out of reach
    down_snr_hz: np.ndarray  # float[N, M]
    server_hz: np.ndarray  # float[M], clock to divide
    uplink_hz: np.ndarray  # float[M], bandwidth to divide
    downlink_hz: np.ndarray  # float[M]

    @property
    def users(self) -> int:
        """N."""
        return self.weights.shape[0]

    @property
    def servers(self) -> int:
        """M, the user's own device not counted."""
        return self.server_hz.shape[0]

    def replace(self, **changes) -> "Instance":
        """Return a checked copy with some arrays replaced."""
        return Instance.build(**{**vars(self), **changes})

    @staticmethod
    def build(**given) -> "Instance":
        """Return a checked Instance; missing scales are the limits, missing wishes allow everything.

        **Raises** `InputError` that names the field which is wrong, and where.
        """
        users, nodes, steps = _shape(given)
        given = {**_defaults(given, users, nodes, steps), **given}
        arrays = {}
        for field in dataclasses.fields(Instance):
            if field.name not in given:
                raise InputError(f"an instance needs {field.name}: {_SHAPES[field.name]}", param=field.name)
            arrays[field.name] = _array(field.name, given[field.name], _expected(field.name, users, nodes, steps))
        _check(arrays)
        return Instance(**arrays)


_SHAPES = {
    **dict.fromkeys(("steps", "model"), "S"),
    "weights": "N 3",
    **dict.fromkeys(("deadline_s", "energy_j", "time_scale_s", "energy_scale_j", "refusal_cost"), "N"),
    **dict.fromkeys(("upload_bits", "download_bits", "send_power_w", "device_hz", "device_w_per_hz3"), "N"),
    **dict.fromkeys(("error", "cycles", "allowed"), "N nodes S"),
    "fixed_s": "N nodes",
    **dict.fromkeys(("up_snr_hz", "down_snr_hz"), "N M"),
    **dict.fromkeys(("server_hz", "uplink_hz", "downlink_hz"), "M"),
}
_MAY_BE_ZERO = {"weights", "refusal_cost", "upload_bits", "download_bits", "send_power_w", "device_w_per_hz3", "error"}
_MAY_BE_ZERO |= {"fixed_s", "up_snr_hz", "down_snr_hz", "cycles"}
_MAY_BE_INFINITE = {"deadline_s", "energy_j", "refusal_cost", "fixed_s"}


def _shape(given: dict) -> tuple[int, int, int]:
    for name in ("error", "server_hz", "steps"):
        if name not in given:
            raise InputError(f"an instance needs {name}: {_SHAPES[name]}", param=name)
    error = np.asarray(given["error"])
    if error.ndim != 3:
        raise InputError(f"error must have 3 dimensions (users, 1 + servers, steps), got {error.ndim}", param="error")
    return error.shape[0], 1 + np.asarray(given["server_hz"]).size, np.asarray(given["steps"]).size


def _expected(name: str, users: int, nodes: int, steps: int) -> tuple[int, ...]:
    sizes = {"N": users, "M": nodes - 1, "S": steps, "nodes": nodes, "3": 3}
    return tuple(sizes[letter] for letter in _SHAPES[name].split())


def _defaults(given: dict, users: int, nodes: int, steps: int) -> dict:
    defaults = {
        "model": np.zeros(steps, dtype=np.int64),
        "allowed": np.ones((users, nodes, steps), dtype=bool),
        "fixed_s": np.zeros((users, nodes)),
        "refusal_cost": np.full(users, np.inf),
    }
    for scale, limit in (("time_scale_s", "deadline_s"), ("energy_scale_j", "energy_j")):
        if limit in given:
            defaults[scale] = given[limit]
    return defaults


def _array(name: str, value, shape: tuple[int, ...]) -> np.ndarray:
    kind = bool if name == "allowed" else np.int64 if name in ("steps", "model") else np.float64
    try:
        array = np.array(value, dtype=kind)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} must hold numbers, got {value!r}", param=name) from error
    if array.shape != shape:
        raise InputError(f"{name} must have the shape {shape} ({_SHAPES[name]}), got {array.shape}", param=name)
    if array.dtype == np.float64:
        _refuse(name, array, np.isnan(array), "a number")
        zero = name in _MAY_BE_ZERO
        _refuse(name, array, array < 0 if zero else array <= 0, ">= 0" if zero else "> 0")
        if name not in _MAY_BE_INFINITE:
            _refuse(name, array, np.isinf(array), "finite")
    array.flags.writeable = False
    return array


def _refuse(name: str, array: np.ndarray, wrong: np.ndarray, expected: str) -> None:
    if wrong.any():
        where = tuple(int(k) for k in np.argwhere(wrong)[0])
        raise InputError(
            f"{name}[{', '.join(map(str, where))}] must be {expected}, got {float(array[where]):g}", param=name
        )


def _check(arrays: dict[str, np.ndarray]) -> None:
    steps, model = arrays["steps"], arrays["model"]
    if steps.size == 0:
        raise InputError("steps must hold at least one step count, got none", param="steps")
    if model[0] < 0 or (np.diff(model) < 0).any():
        raise InputError(f"model must rise and start at 0 or more, got {model.tolist()}", param="model")
    same = np.diff(model) == 0
    if steps.min() < 1 or (np.diff(steps) <= 0)[same].any():
        raise InputError(f"steps must rise strictly and start at 1 or more, got {steps.tolist()}", param="steps")
    falling = (np.diff(arrays["cycles"], axis=2) < 0) & same
    if falling.any():
        user, node, step = (int(k) for k in np.argwhere(falling)[0])
        raise InputError(
            f"cycles must not fall with the steps: user {user} on node {node} needs fewer for {steps[step + 1]} steps "
            f"than for {steps[step]}",
            param="cycles",
        )
