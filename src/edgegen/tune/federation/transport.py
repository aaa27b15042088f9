"""Arrays on their way: 32, 16 or 8 bits per number, and what a message weighs.

With fewer than 32 bits each array is sent as whole numbers q and one scale: x ~ scale·q, scale = max|x| / (2^(bits-1) - 1).
Rounding is stochastic, q = floor(x/scale + u) with u uniform in [0, 1), so the decoded number is right on average and never
off by more than one scale. What sites send back is the difference from what they were sent, which is smaller than the
arrays themselves and so loses less.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, Message
from flwr.common import bytes_to_ndarray
from flwr.common.secure_aggregation.secaggplus_constants import Key
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, no_object_id_recompute
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents

from edgegen.core.errors import InputError
from edgegen.tune.federation.learners import Arrays

_WHOLE = {16: np.int16, 8: np.int8}


@dataclass(frozen=True)
class Coded:
    """Arrays as they travel."""

    record: ArrayRecord  # float32, or whole numbers of `bits` bits
    bits: int
    scales: tuple[float, ...]  # of each array, in the order of the record; empty at 32 bits


def encode(arrays: Arrays, bits: int, rng: np.random.Generator) -> Coded:
    """Return `arrays` with `bits` bits per number.

    **Raises** `InputError` if a number is not finite: one of them would spoil everybody's mean.
    """
    for name, values in arrays.items():
        if not np.isfinite(values).all():
            raise InputError(f"the array {name!r} holds numbers that are not finite; training has diverged")
    if bits == 32:
        return Coded(ArrayRecord({n: Array(np.asarray(v, np.float32)) for n, v in arrays.items()}), bits, ())
    top = 2 ** (bits - 1) - 1
    record, scales = {}, []
    for name, values in arrays.items():
        exact = np.asarray(values, np.float64)
        scale = float(np.abs(exact).max(initial=0.0)) / top or 1.0  # an array of zeros has no scale of its own
        whole = np.floor(exact / scale + rng.random(exact.shape))
        record[name] = Array(np.asarray(np.clip(whole, -top, top), _WHOLE[bits]))
        scales.append(scale)
    return Coded(ArrayRecord(record), bits, tuple(scales))


def decode(coded: Coded) -> Arrays:
    """Return the float32 arrays that `coded` stands for."""
    plain = {name: array.numpy() for name, array in coded.record.items()}
    if coded.bits == 32:
        return plain
    if len(coded.scales) != len(plain):
        raise InputError(f"{len(plain)} arrays came with {len(coded.scales)} scales; sender and receiver disagree")
    return {n: (v * s).astype(np.float32) for (n, v), s in zip(plain.items(), coded.scales, strict=True)}


def coding(coded: Coded) -> dict[str, int | list[float]]:
    """Return the entries of a ConfigRecord that `received` needs."""
    return {"bits": coded.bits, "scales": list(coded.scales)}


def values_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a ConfigRecord or a MetricRecord holds; who reads it knows of which type it is, or fails."""
    return dict(record)


def received(record: ArrayRecord, config: Mapping[str, Any]) -> Arrays:
    """Return the arrays of a message from its two records."""
    return decode(Coded(record, int(config["bits"]), tuple(config["scales"])))


def difference(after: Arrays, before: Arrays) -> Arrays:
    """Return how far the arrays of `after` are from those of the same names.

    **Raises** `InputError` if one has no counterpart of the same shape.
    """
    for name, values in after.items():
        if name not in before or np.shape(values) != before[name].shape:
            raise InputError(f"the learner returned {name!r} with shape {np.shape(values)}, which it was not sent")
    return {name: np.asarray(values, np.float32) - before[name] for name, values in after.items()}


def total(update: Arrays, before: Arrays) -> Arrays:
    """Return `before` moved by `update`, for the names of `update`."""
    return {name: (before[name] + values).astype(np.float32) for name, values in update.items()}


@dataclass(frozen=True)
class Traffic:
    """Bytes of messages in one direction."""

    payload_bytes: int = 0  # the numbers themselves
    wire_bytes: int = 0  # serialised messages as Flower sends them, without the headers of HTTP and TLS

    def __add__(self, other: "Traffic") -> "Traffic":
        return Traffic(self.payload_bytes + other.payload_bytes, self.wire_bytes + other.wire_bytes)


def weigh(message: Message) -> Traffic:
    """Return what a message weighs: its numbers, and all of it as it is serialised."""
    wire = sum(len(part) for part in _serialised(message).values())
    if not message.has_content():
        return Traffic(0, wire)
    arrays = [array for record in message.content.array_records.values() for array in record.values()]
    numbers = sum(_payload_bytes(array) for array in arrays)
    return Traffic(numbers + _masked_bytes(message), wire)


def _payload_bytes(array: Array) -> int:
    """Return the bytes of an array's numbers; the older records of Flower do not say of which type they are."""
    if array.dtype:
        return math.prod(array.shape) * np.dtype(array.dtype).itemsize
    return bytes_to_ndarray(array.data).nbytes


def _serialised(message: Message) -> dict[str, bytes]:
    """Return the parts of a message as Flower sends them, by their ids; the message itself is the last."""
    with no_object_id_recompute():
        return {name: part.deflate() for name, part in get_all_nested_objects(message).items()}


def carried(message: Message, name: str) -> Message:
    """Return what arrives of a message: made anew from its bytes, with the id `name`, sharing nothing with what was sent."""
    parts = _serialised(message)
    arrived = inflate_object_from_contents(next(reversed(parts)), parts)
    assert isinstance(arrived, Message)
    arrived.metadata.__dict__["_message_id"] = name
    return arrived


def _masked_bytes(message: Message) -> int:
    """Return the bytes of a masked update, which travels among the settings of secure aggregation."""
    records = [values_of(record) for record in message.content.config_records.values()]
    return sum(bytes_to_ndarray(part).nbytes for record in records for part in record.get(Key.MASKED_PARAMETERS, []))
