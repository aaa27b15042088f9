"""Who works on a job: a name for each run of a gateway, from which its neighbours on the same machine see that it is gone.

Everybody else has to wait until its lease runs out. A process id means something only in the same boot and the same namespace
of process ids, and only together with the process's start time; where that cannot be known, the lease alone counts.
"""

import os
import secrets
from hashlib import sha256
from pathlib import Path

PROC = Path("/proc")


def new_owner() -> str:
    """Return a name for this run of a gateway."""
    pid = os.getpid()
    return f"{_place()}/{pid}.{_began(pid)}/{secrets.token_hex(4)}"


def is_gone(owner: str) -> bool:
    """Tell whether the process behind a name has certainly ended; False where that is not known."""
    place, _, rest = owner.partition("/")
    pid, _, began = rest.partition("/")[0].partition(".")
    if place != _place() or place == "elsewhere" or not pid.isdigit():
        return False
    return _began(int(pid)) != began


def _place() -> str:
    try:
        boot = (PROC / "sys/kernel/random/boot_id").read_text().strip()
        namespace = os.readlink(PROC / "self/ns/pid")
    except OSError:
        return "elsewhere"
    return sha256(f"{boot} {namespace}".encode()).hexdigest()[:12]


def _began(pid: int) -> str:
    """Return the start time of a living process, in ticks since the boot, or an empty text."""
    try:
        after_name = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if after_name[0] == "Z" else after_name[19]
