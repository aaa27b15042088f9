"""A picture in the making as bytes: everything that another engine with the same model needs to go on with it.

    magic | length of the header, 4 bytes, little endian | header, JSON | latent | last clean guess | check sum, 16 bytes

Both arrays are float32, little endian, of the shape that the header names; the clean guess is there once a step is done. The header
holds the request (id, prompt, steps, seed, sampler, guidance), the sampler's state and the fingerprint of the model. Nothing in it is
executed, everything is bounded and checked, and what does not fit is refused with a sentence.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edgegen.core.errors import InputError

MAGIC = b"EGCK1\n"
MAX_HEADER_BYTES = 64 * 1024
MAX_CHECKPOINT_BYTES = 5 * 512 * 1024  # latent and guess of 16 x 128 x 128 values, and a header
SUM_BYTES = 16
_LENGTH_BYTES = 4
_FLOAT = np.dtype("<f4")


class CheckpointError(InputError):
    """Bytes from which no picture can be continued here."""


@dataclass(frozen=True)
class EngineRequest:
    """One picture to make."""

    id: str
    prompt: str
    steps: int
    seed: int = 0
    sampler: str = "ddim"
    guidance: float = 1.0  # 1 is none, at half the cost


@dataclass(frozen=True)
class Checkpoint:
    """A picture after some of its steps."""

    model: str  # fingerprint
    request: EngineRequest
    state: dict[str, Any]  # of the sampler; see `SamplerState.to_dict`
    latent: np.ndarray  # float32[C, H, W]
    clean: np.ndarray | None  # the last clean guess, float32[C, H, W]; None before the first step

    @property
    def done(self) -> int:
        """Steps that are done."""
        return self.state["done"]

    @property
    def steps(self) -> int:
        """Steps in all."""
        return self.state["steps"]

    def to_bytes(self) -> bytes:
        """Pack it."""
        header = json.dumps(
            {
                "model": self.model,
                "request": asdict(self.request),
                "state": self.state,
                "shape": list(self.latent.shape),
                "arrays": 1 if self.clean is None else 2,
            }
        ).encode()
        arrays = [array.astype(_FLOAT).tobytes() for array in (self.latent, self.clean) if array is not None]
        body = b"".join([MAGIC, len(header).to_bytes(_LENGTH_BYTES, "little"), header, *arrays])
        if len(header) > MAX_HEADER_BYTES or len(body) > MAX_CHECKPOINT_BYTES:
            raise CheckpointError(f"a checkpoint of {len(body)} bytes is too large; {MAX_CHECKPOINT_BYTES} at most")
        return body + _sum(body)

    @staticmethod
    def from_bytes(data: bytes) -> Checkpoint:
        """Unpack it. **Raises** `CheckpointError` for anything that `to_bytes` does not give."""
        header, rest = _header(data)
        try:
            return _read(header, rest)
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"a checkpoint's header with wrong fields: {type(error).__name__}: {error}"
            ) from error


def _sum(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=SUM_BYTES).digest()


def _header(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Take the parts apart: the header, and the bytes of the arrays."""
    if len(data) > MAX_CHECKPOINT_BYTES + SUM_BYTES or not data.startswith(MAGIC):
        raise CheckpointError(f"{len(data)} bytes are no checkpoint: expected {MAGIC!r} first and at most 2.5 MiB")
    body, checked = data[:-SUM_BYTES], data[-SUM_BYTES:]
    if _sum(body) != checked:
        raise CheckpointError("a checkpoint that was damaged or cut short: its check sum is another one")
    begin = len(MAGIC) + _LENGTH_BYTES
    length = int.from_bytes(body[len(MAGIC) : begin], "little")
    if length > MAX_HEADER_BYTES or begin + length > len(body):
        raise CheckpointError(f"a checkpoint's header of {length} bytes does not fit")
    try:
        header = json.loads(body[begin : begin + length])
    except ValueError as error:
        raise CheckpointError(f"a checkpoint's header that is no JSON: {error}") from error
    if not isinstance(header, dict):
        raise CheckpointError("a checkpoint's header that is no JSON object")
    return header, body[begin + length :]


def _read(header: dict[str, Any], rest: bytes) -> Checkpoint:
    shape = tuple(_whole(value) for value in header["shape"])
    if len(shape) != 3 or not all(1 <= value <= 4096 for value in shape):
        raise ValueError(f"shape {shape}")
    count = math.prod(shape)
    arrays = np.frombuffer(rest, _FLOAT)
    if header["arrays"] not in (1, 2) or arrays.size != count * header["arrays"]:
        raise ValueError(f"{arrays.size} values for {header['arrays']} arrays of {shape}")
    if not np.isfinite(arrays).all():
        raise ValueError("latents that are not finite")
    both = arrays.astype(np.float32).reshape(-1, *shape)
    return Checkpoint(
        model=_text(header["model"]),
        request=_request(header["request"]),
        state=_state(header["state"]),
        latent=both[0],
        clean=both[1] if len(both) > 1 else None,
    )


def _request(kept: dict[str, Any]) -> EngineRequest:
    request = EngineRequest(**kept)
    for text in (request.id, request.prompt, request.sampler):
        _text(text)
    for number in (request.steps, request.seed):
        _whole(number)
    return EngineRequest(
        request.id, request.prompt, request.steps, request.seed, request.sampler, _number(request.guidance)
    )


def _state(kept: dict[str, Any]) -> dict[str, Any]:
    done, left, before = kept["leg"]
    leg = [_whole(done), _number(left), None if before is None else _number(before)]
    return {"sampler": _text(kept["sampler"]), "steps": _whole(kept["steps"]), "done": _whole(kept["done"]), "leg": leg}


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, got {value!r}")
    return value


def _whole(value: object) -> int:
    if type(value) is not int:
        raise TypeError(f"expected a whole number, got {value!r}")
    return value


def _number(value: object) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):  # type: ignore[arg-type]
        raise TypeError(f"expected a number, got {value!r}")
    return value  # type: ignore[return-value]
