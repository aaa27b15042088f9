"""Checks that records make of their numbers when they are built."""

import numpy as np

from edgegen.core.errors import InputError


def positive(record: object, *names: str) -> None:
    """Refuse a record in which one of these fields is empty, or holds anything but finite numbers above 0.

    **Raises** `InputError`, naming the field.
    """
    for name in names:
        given = getattr(record, name)
        value = np.asarray(given, dtype=float)
        if value.size == 0 or not (np.isfinite(value) & (value > 0)).all():
            raise InputError(f"{name} must be positive and finite, got {given}", param=name)
