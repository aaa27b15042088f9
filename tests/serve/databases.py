"""Real databases for tests: a file of SQLite, and a PostgreSQL server that lives as long as the tests."""

import contextlib
import dataclasses
import glob
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

MISSING = "no PostgreSQL on this machine: install one (Debian: apt install postgresql)"


def find_binaries() -> Path | None:
    """Return the folder that has `initdb` and `postgres`."""
    folders = [Path(path).resolve().parent for path in [shutil.which("initdb")] if path]
    if shutil.which("pg_config"):
        said = subprocess.run(["pg_config", "--bindir"], capture_output=True, text=True, check=False)
        folders.append(Path(said.stdout.strip()))
    folders += map(Path, sorted(glob.glob("/usr/lib/postgresql/*/bin"), reverse=True))
    needed = ("initdb", "postgres", "createdb", "dropdb", "pg_isready")
    return next((folder for folder in folders if all((folder / name).exists() for name in needed)), None)


@dataclasses.dataclass(frozen=True)
class Server:
    """A PostgreSQL that listens on a socket in a folder of its own."""

    binaries: Path
    folder: Path

    def fresh(self) -> str:
        """Make an empty database and return its URL."""
        name = f"t{time.monotonic_ns()}"
        self._client("createdb", name)
        return f"postgresql://tests@/{name}?host={self.folder}"

    def drop(self, url: str) -> None:
        """Drop a database, whoever is still connected."""
        self._client("dropdb", "--force", url.split("/")[3].split("?")[0])

    def _client(self, program: str, *arguments: str) -> None:
        command = [str(self.binaries / program), "-h", str(self.folder), "-U", "tests", *arguments]
        subprocess.run(command, check=True, capture_output=True)


@contextlib.contextmanager
def postgresql(binaries: Path) -> Iterator[Server]:
    """Start a server; it refuses to run as root, and then runs as nobody."""
    folder = Path(tempfile.mkdtemp(prefix="edgegen-pg-"))
    person: dict = {}
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        person = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    data = folder / "data"
    make = [
        str(binaries / "initdb"),
        "-D",
        str(data),
        "-U",
        "tests",
        "-A",
        "trust",
        "--no-sync",
        "--locale=C",
        "-E",
        "UTF8",
    ]
    subprocess.run(make, check=True, capture_output=True, cwd=folder, **person)
    options = ["-c", "listen_addresses=", "-c", f"unix_socket_directories={folder}", "-c", "fsync=off"]
    with open(folder / "log", "wb") as log:
        server = subprocess.Popen(
            [str(binaries / "postgres"), "-D", str(data), *options], stdout=log, stderr=log, cwd=folder, **person
        )
    try:
        ready = [str(binaries / "pg_isready"), "-q", "-h", str(folder), "-U", "tests", "-d", "postgres"]
        until_s = time.monotonic() + 30
        while subprocess.run(ready, check=False).returncode:
            assert server.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < until_s, "PostgreSQL did not start"
            time.sleep(0.05)
        yield Server(binaries, folder)
    finally:
        server.terminate()
        server.wait(timeout=30)
        shutil.rmtree(folder, ignore_errors=True)
