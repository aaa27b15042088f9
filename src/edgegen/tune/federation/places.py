"""Where the processes of a run are, what protects them, and by which commands they are started."""

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgegen.core.errors import ConfigError
from edgegen.tune.federation.tls import Certificates, is_loopback


@dataclass(frozen=True)
class Place:
    """Where the SuperLink listens, and what protects it."""

    host: str = "127.0.0.1"
    port: int = 0  # 0: a free one
    security: Literal["auto", "tls", "insecure"] = "auto"  # auto: none on loopback, TLS and keys of sites elsewhere
    certificates: Certificates | None = None  # None: made for this run
    names: tuple[str, ...] = ()  # other names and addresses that sites know the server by, for a made certificate

    def __post_init__(self):
        if self.security == "insecure" and self.certificates:
            raise ConfigError("certificates were given, and security 'insecure' does not use them", param="security")

    @property
    def protected(self) -> bool:
        """Whether TLS and the keys of sites are used."""
        if self.security == "auto":
            return self.certificates is not None or not is_loopback(self.host)
        return self.security == "tls"


@dataclass(frozen=True)
class Engine:
    """Who runs the sites: SuperNodes of their own, or something inside the SuperLink."""

    supernodes: int  # started here
    superlink_options: tuple[str, ...] = ()
    run_options: tuple[str, ...] = ()
    keys: int = 0  # sites that a key is made and registered for, if there is TLS


def here(sites: int) -> Engine:
    """Return the engine that runs every site as a SuperNode of this machine."""
    return Engine(sites, keys=sites)


def elsewhere(sites: int) -> Engine:
    """Return the engine that starts no site: their machines run `supernode_command`, with the keys that are made here."""
    return Engine(0, keys=sites)


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port that nobody listens on right now."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


def superlink_command(host: str, port: int, database: Path, certificates: Certificates | None) -> list[str]:
    """Return the command of the server; with certificates, sites have to be registered by their keys."""
    command = ["flower-superlink", "--host", host, "--port", str(port), "--database", str(database)]
    if certificates is None:
        return [*command, "--insecure"]
    return [
        *command,
        *("--ssl-ca-certfile", str(certificates.authority)),
        *("--ssl-certfile", str(certificates.certificate)),
        *("--ssl-keyfile", str(certificates.key)),
        "--enable-supernode-auth",
    ]


def supernode_command(
    superlink: str, site: int, sites: int, port: int, authority: Path | None, key: Path | None
) -> list[str]:
    """Return the command of a site: `superlink` is the server's host:port, `port` is for the site's own processes."""
    command = ["flower-supernode", "--superlink", superlink, "--host", "127.0.0.1", "--port", str(port)]
    command += ["--node-config", f"partition-id={site} num-partitions={sites}"]
    if authority is None or key is None:
        return [*command, "--insecure"]
    return [*command, "--root-certificates", str(authority), "--auth-supernode-private-key", str(key)]
