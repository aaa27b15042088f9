"""What the catalog makes of a request, of a wish and of the nodes' loads: rows and numbers that States are put together from."""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from edgegen.dispatch.messages import Request


@dataclasses.dataclass(frozen=True)
class TaskRow:
    """One request as rows and numbers, computed once when it arrives."""

    request: Request
    origin: int  # position among the devices
    ints: NDArray[np.int32]  # number, origin, category, model or ANY, steps or ANY
    floats: NDArray[np.float64]  # see `_task_floats`
    allowed: NDArray[np.bool_]  # [N], nodes that the wish permits
    permitted: NDArray[np.bool_]  # [N, M], of these, models that the wish permits and the node or device has
    plain: bool  # `permitted` says nothing that the State's own columns do not say
    kept: int = 0  # steps that a checkpoint holds, from which it goes on
    anew: "TaskRow | None" = None  # of one that goes on: what it is without its checkpoint


@dataclasses.dataclass(frozen=True)
class Granted:
    """A wish as rows; the fields are those of `TaskRow`."""

    model: int
    steps: int
    allowed: NDArray[np.bool_]
    permitted: NDArray[np.bool_]
    plain: bool


@dataclasses.dataclass
class NodeLoad:
    """What changes about the nodes: who lives, what they have promised, which models they hold."""

    live: NDArray[np.bool_]  # [N]
    backlog_s: NDArray[np.float64]  # [N]
    downlink_backlog_s: NDArray[np.float64]  # [N]
    resident: NDArray[np.bool_]  # [N, M]
    device_live: NDArray[np.bool_]  # [D]
    device_backlog_s: NDArray[np.float64]  # [D]
    slowness: tuple[float, ...]  # [N], by which times of generation are longer than the profiles say; 1 in row LOCAL
    device_slowness: NDArray[np.float64]  # [D], likewise
