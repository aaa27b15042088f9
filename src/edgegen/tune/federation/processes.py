"""A run as real processes: a SuperLink, one SuperNode per site, and the ServerApp and ClientApps that they start.

`Federation` starts them on this machine, starts again what dies, and leaves none behind: not after an error, not after
Ctrl-C. A SuperLink that dies takes the ServerApp with it; the next one goes on from the last round in the run's folder.
Beyond loopback there is TLS, and a site has to prove who it is, unless somebody says that it need not.
"""

import socket
import ssl
import subprocess
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import IO

import httpx

from edgegen.core.errors import ConfigError, WorkerError
from edgegen.tune.federation.launch import ERROR, SERVER_PID, Launch
from edgegen.tune.federation.learners import Arrays
from edgegen.tune.federation.packing import CONNECTION, environment, scripts, write_app, write_home
from edgegen.tune.federation.pids import ending_on_sigterm, is_alive, kill, marked
from edgegen.tune.federation.places import Engine, Place, free_port, here, superlink_command, supernode_command
from edgegen.tune.federation.records import Progress
from edgegen.tune.federation.tls import Certificates, make_certificates, make_site_key

POLL_S = 0.25
START_S = 90.0  # for a SuperLink to answer; importing it takes seconds on a busy machine
END_S = 6.0  # for a process to end after it was asked to
FORGET_S = 65.0  # for a SuperLink to notice that a site is gone; until then it does not take the same key again
GRACE_S = 5.0  # for the last lines of a ServerApp that has gone


class Federation:
    """The processes of one run, as a context: all are there inside it, and none is after it."""

    def __init__(self, launch: Launch, place: Place | None = None, *, engine: Engine | None = None, restarts: int = 3):
        self.launch, self.place, self.engine = launch, place or Place(), engine or here(launch.sites)
        if (self.engine.supernodes or self.engine.keys) and launch.settings.deadline_s is None:
            raise ConfigError(
                "real processes need deadline_s: a site that dies with a message in its hands never answers it",
                param="deadline_s",
            )
        self.restarts_left, self.restarted = restarts, 0
        self.superlink: subprocess.Popen | None = None
        self.supernodes: dict[int, subprocess.Popen] = {}
        self._back_at_s: dict[
            int, float
        ] = {}  # sites that have died: when they are started again, on the monotonic clock
        self._mark = uuid.uuid4().hex
        self._logs: list[IO] = []
        folder = launch.folder.resolve()
        port = self.place.port or free_port(self.place.host)
        dial = "127.0.0.1" if self.place.host in ("0.0.0.0", "::") else self.place.host
        self._port, self.address = port, f"[{dial}]:{port}" if ":" in dial else f"{dial}:{port}"
        self._dial = dial
        self._folder, self._keys = folder, folder / "keys"
        self.certificates: Certificates | None = None

    # ------------------------------------------------------------------------------------------------------ beginning

    def __enter__(self) -> "Federation":
        try:
            self._begin()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind, error, trace) -> None:
        self.stop()

    def _begin(self) -> None:
        scripts()  # says what to install, before anything is started
        if self.place.protected:
            own = (self._dial, self.place.host, "127.0.0.1", "localhost", socket.gethostname())
            hosts = list(dict.fromkeys((*self.place.names, *own)))
            made = self.place.certificates or make_certificates(self._keys, hosts)
            self.certificates = made.check()
        authority = self.certificates.authority if self.certificates else None
        for old in self._folder.glob("superlink.db*"):  # of a run before; what counts is in the history
            old.unlink()
        if (before := self.launch.run_folder().read()) and before.ended:
            self.launch.run_folder().write(replace(before, ended=None))  # the ServerApp decides again whether it has
        self._home = write_home(self._folder, self.address, authority)
        self._app = write_app(self._folder, self.launch.run_config())
        self._start_superlink()
        if self.certificates:
            for site in range(self.engine.keys):
                _, public = make_site_key(self._keys, site)
                self._flwr("supernode", "register", str(public), CONNECTION)
        for site in range(self.engine.supernodes):
            self._start_supernode(site)
        self._submit()

    def _start(self, command: list[str], log: str) -> subprocess.Popen:
        """Start a process of this run in a session of its own, so that Ctrl-C reaches us first, and only us."""
        file = (self._folder / log).open("ab")
        self._logs.append(file)
        command = [str(scripts() / command[0]), *command[1:]]
        env = environment(self._home, self._mark)
        return subprocess.Popen(
            command, env=env, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
        )

    def _start_superlink(self) -> None:
        command = superlink_command(self.place.host, self._port, self._folder / "superlink.db", self.certificates)
        self.superlink = self._start([*command, *self.engine.superlink_options], "superlink.log")
        url = f"{'https' if self.certificates else 'http'}://{self.address}/health"
        verify = ssl.create_default_context(cafile=str(self.certificates.authority)) if self.certificates else False
        until = time.monotonic() + START_S
        with httpx.Client(verify=verify, timeout=2, trust_env=False) as client:
            while time.monotonic() < until:
                if self.superlink.poll() is not None:
                    raise WorkerError(f"the SuperLink ended as it began; {self._folder / 'superlink.log'} says why")
                with suppress(httpx.HTTPError):
                    if client.get(url).is_success:
                        return
                time.sleep(POLL_S)
        raise WorkerError(f"the SuperLink did not answer at {self.address} within {START_S:g} s")

    def _start_supernode(self, site: int) -> None:
        authority = self.certificates.authority if self.certificates else None
        key = make_site_key(self._keys, site)[0] if self.certificates else None
        command = supernode_command(self.address, site, self.launch.sites, free_port(), authority, key)
        self.supernodes[site] = self._start(command, f"site-{site}.log")

    def _submit(self) -> None:
        """Ask the SuperLink to run the app; what the run's folder already holds is gone on with."""
        old = self._server_pid()
        (self._folder / SERVER_PID).unlink(missing_ok=True)
        if old in marked(self._mark):
            kill(old)  # one that has lost its SuperLink and does not know it yet
        (self._folder / ERROR).unlink(missing_ok=True)
        self._flwr("run", str(self._app), CONNECTION, *self.engine.run_options)

    def _flwr(self, *arguments: str) -> None:
        env = environment(self._home, self._mark)
        command = [str(scripts() / "flwr"), *arguments]
        done = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode:
            raise WorkerError(f"flwr {' '.join(arguments[:2])} failed: {(done.stderr or done.stdout).strip()[-500:]}")

    # -------------------------------------------------------------------------------------------------------- running

    def wait(self, on_round: Callable[[Progress], None] = lambda progress: None) -> Progress:
        """Watch until the run has ended, start again what dies, and return what came of it.

        **Raises** `WorkerError` if the ServerApp fails, or processes die more often than they may.
        """
        folder, seen = self.launch.run_folder(), 0
        while True:
            progress = folder.read()
            if progress and len(progress.history) > seen:
                seen = len(progress.history)
                on_round(progress)
            if progress and progress.ended:
                return progress
            if (self._folder / ERROR).exists():
                raise WorkerError(f"the ServerApp failed: {(self._folder / ERROR).read_text()}")
            self._revive()
            time.sleep(POLL_S)

    def _revive(self) -> None:
        if self.superlink is None or self.superlink.poll() is not None:
            self._count("the SuperLink")
            self._start_superlink()
            self._submit()
        elif self._server_has_gone():
            self._count("the ServerApp")
            self._submit()
        for site, process in list(self.supernodes.items()):
            if process.poll() is not None:
                self._bring_back(site)

    def _bring_back(self, site: int) -> None:
        now_s = time.monotonic()
        if site not in self._back_at_s:
            self._count(f"the SuperNode of site {site}")
            self._back_at_s[site] = now_s + (FORGET_S if self.certificates else 0.0)
        if now_s >= self._back_at_s[site]:
            del self._back_at_s[site]
            self._start_supernode(site)

    def _server_has_gone(self) -> bool:
        """Return whether the ServerApp began, is no more, and left neither a result nor an error."""
        pid, until = self._server_pid(), time.monotonic() + GRACE_S
        while pid and not is_alive(pid):
            progress = self.launch.run_folder().read()
            if (progress and progress.ended) or (self._folder / ERROR).exists():
                return False
            if time.monotonic() > until:
                return True
            time.sleep(POLL_S)
        return False

    def _server_pid(self) -> int:
        """Return the process of the ServerApp, or 0 if none has begun."""
        try:
            return int((self._folder / SERVER_PID).read_text())
        except (OSError, ValueError):
            return 0

    def _count(self, what: str) -> None:
        if self.restarts_left == 0:
            raise WorkerError(f"{what} died, and processes have been started again {self.restarted} times already")
        self.restarts_left -= 1
        self.restarted += 1

    # ---------------------------------------------------------------------------------------------------------- ending

    def pids(self) -> list[int]:
        """Return the processes of this run that are alive: those started here, and what they started."""
        own = [process for process in (self.superlink, *self.supernodes.values()) if process]
        return sorted({process.pid for process in own if process.poll() is None} | set(marked(self._mark)))

    def stop(self) -> None:
        """End every process of this run: asked first, then killed."""
        own = [process for process in (*self.supernodes.values(), self.superlink) if process]
        for process in own:
            if process.poll() is None:
                process.terminate()
        until = time.monotonic() + END_S
        while (left := self.pids()) and time.monotonic() < until:
            time.sleep(0.1)
        while left:
            for pid in left:
                kill(pid)
            time.sleep(0.05)
            left = self.pids()
        for process in own:
            process.wait()
        for file in self._logs:
            file.close()
        self._logs.clear()


def run_on_processes(
    launch: Launch,
    start: Arrays,
    *,
    place: Place | None = None,
    engine: Engine | None = None,
    on_round: Callable[[Progress], None] = lambda progress: None,
) -> Progress:
    """Run a launch as real processes on this machine and return what came of it; no process is left."""
    launch.write(start)
    with ending_on_sigterm(), Federation(launch, place, engine=engine) as federation:
        return federation.wait(on_round)
