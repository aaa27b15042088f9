"""Starting a worker process, at the gateway or on a machine that joins one."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping


def process_arguments(*, maker: str, slots: int, folders: Mapping[str, str]) -> list[str]:
    """Return the arguments of a worker process. `folders` are of models that are not built in."""
    arguments = ["--maker", maker, "--slots", str(slots)]
    for model, folder in folders.items():
        arguments += ["--folder", f"{model}={folder}"]
    return arguments


class WorkerProcess:
    """One running process and its socket."""

    def __init__(self, popen: subprocess.Popen, sock: socket.socket):
        self.popen, self.sock = popen, sock
        self.began_s = time.monotonic()

    @classmethod
    def spawn(cls, arguments: list[str]) -> "WorkerProcess":
        """Start a worker with one end of a socket pair; the other end is ours, and its closing is the other's end."""
        ours, theirs = socket.socketpair()
        try:
            command = [sys.executable, "-m", "edgegen.serve.workers.process", "--fd", str(theirs.fileno())]
            popen = subprocess.Popen(
                command + arguments,
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return cls(popen, ours)

    def end(self) -> None:
        """End the process by force and take its exit status, so that no zombie stays."""
        self.popen.kill()
        self.popen.wait()
