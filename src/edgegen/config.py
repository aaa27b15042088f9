"""One TOML file describes the gateway, its policy, its models and its nodes. Parsed once, built into plain values.

Quantities are text with a unit ("20 ms", "50 Mbit/s", "4 W"). A key that does not exist, a wrong unit or a name that
nothing defines is a `ConfigError` that says where, what was expected and what was probably meant.
Every field is described in docs/configuration.md.
"""

import importlib.resources
import math
import tomllib
import urllib.parse
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import BeforeValidator, ConfigDict, Field

from edgegen.core.errors import ConfigError, InputError, UnknownNameError, suggest
from edgegen.core.units import db_to_ratio, parse_quantity

LOCAL_FILE = "edgegen.toml"
CATEGORIES = ("basic", "detail", "relation", "complex")
STEPS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32)


def _quantity(kind: str, *, zero: bool = True):
    """Return a parser of text with a unit; numbers are >= 0, or > 0 where zero makes no sense."""

    def parse(text: Any) -> float:
        try:
            value = parse_quantity(text, kind)
        except InputError as error:
            raise ValueError(str(error)) from None
        if value < 0 or (value == 0 and not zero):
            raise ValueError(f"expected a {kind} {'>= 0' if zero else '> 0'}, got {text!r}")
        return value

    return BeforeValidator(parse)


def _price(text: Any) -> float:
    """Return USD per second for text such as "0.0011 USD/s" or "4 USD/h"."""
    money, slash, unit = str(text).rpartition("/")
    try:
        if not slash:
            raise InputError("")
        value = parse_quantity(money, "money") / parse_quantity(f"1 {unit.strip()}", "time")
    except InputError:
        raise ValueError(f"expected a price such as '0.001 USD/s' or '4 USD/h', got {text!r}") from None
    if value < 0:
        raise ValueError(f"expected a price >= 0, got {text!r}")
    return value


def _ratio(text: Any) -> float:
    """Return a power ratio for text such as "15 dB"."""
    number, _, unit = str(text).strip().rpartition(" ")
    try:
        if unit != "dB":
            raise ValueError
        return db_to_ratio(float(number))
    except ValueError:
        raise ValueError(f"expected a ratio such as '15 dB', got {text!r}") from None


def _name(text: Any) -> str:
    if not isinstance(text, str) or not text.strip() or any(sign in text for sign in "/\\\n\t") or len(text) > 64:
        raise ValueError(f"expected a short name without slashes or line breaks, got {text!r}")
    return text


def _address(text: Any) -> str:
    """Return the address of a server, without the slash or the /v1 that it may end with."""
    try:
        parts = urllib.parse.urlsplit(text if isinstance(text, str) else "")
        good = parts.scheme in ("http", "https") and parts.hostname and not (parts.query or parts.fragment)
    except ValueError:
        raise ValueError(f"expected an address such as 'http://10.0.0.5:8000', got {text!r}") from None
    if not good:
        raise ValueError(f"expected an address such as 'http://10.0.0.5:8000', got {text!r}")
    if "@" in parts.netloc:
        raise ValueError("an address holds no name or key; name the environment variable of the key as key_env")
    return text.rstrip("/").removesuffix("/v1")


def _kind(worker: Any) -> Any:
    """Let the kind alone stand for a worker that needs no more."""
    return {"kind": worker} if isinstance(worker, str) else worker


Seconds = Annotated[float, _quantity("time")]
Duration = Annotated[float, _quantity("time", zero=False)]
Rate = Annotated[float, _quantity("rate", zero=False)]
Watts = Annotated[float, _quantity("power")]
Size = Annotated[float, _quantity("size")]
Price = Annotated[float, BeforeValidator(_price)]
Ratio = Annotated[float, BeforeValidator(_ratio)]
Name = Annotated[str, BeforeValidator(_name)]
Weight = Annotated[float, Field(ge=0, le=1e6)]


class _Section(pydantic.BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class PayloadSection(_Section):
    """What one picture counts on the emulated links."""

    input: Size = 2e3
    output: Size = 500e3


class GatewaySection(_Section):
    """Where the gateway listens and how much it accepts."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    max_waiting: Annotated[int, Field(ge=1, le=4096)] = 64
    ahead: Annotated[int, Field(ge=0, le=8)] = 1
    pace: bool = True
    steps: Annotated[list[Annotated[int, Field(ge=1, le=1000)]], Field(min_length=1, max_length=64)] = list(STEPS)
    journal: str = "edgegen-runs/journal.jsonl"
    fsync: bool = False
    keep_images: Annotated[int, Field(ge=1)] = 500
    tick: Duration = 0.1
    api_keys: list[str] = []
    workers: str = "edgegen-runs/workers.json"
    models_folder: str = "edgegen-runs/models"
    tls_cert: str = ""
    tls_key: str = ""
    traces: str = ""
    payload: PayloadSection = PayloadSection()


class PolicySection(_Section):
    """Who decides."""

    name: str = "certified"
    budget: Duration = 0.008  # s, how long a decision may take before the best plan so far is used


class ObjectiveSection(_Section):
    """What quality, time, energy and money are worth when a request says nothing."""

    quality: Weight = 1.0
    time: Weight = 0.3
    energy: Weight = 0.2
    money: Weight = 0.05

    @property
    def weights(self) -> tuple[float, float, float, float]:
        """In the order of `Tasks.weights`."""
        return (self.quality, self.time, self.energy, self.money)


class StorageSection(_Section):
    """Where jobs are kept, and for how long."""

    url: str = "sqlite:///edgegen-runs/edgegen.db"
    blobs: str = "edgegen-runs/blobs"
    keep: Duration = 7 * 86400.0  # s, after a job's end


class JobsSection(_Section):
    """How accepted jobs are worked on."""

    at_once: Annotated[int, Field(ge=1, le=1024)] = 16
    max_open: Annotated[int, Field(ge=1)] = 10_000
    keep_every: Annotated[int, Field(ge=0, le=1000)] = 4  # steps between checkpoints; 0: none
    lease: Annotated[Duration, Field(ge=0.1)] = 10.0  # s
    webhooks: list[str] = []  # where results may be told to


class ModelSection(_Section):
    """One model: its name, what was measured about it, and where its files are."""

    name: Name
    profile: str | None = None
    folder: str | None = None


class LinkSection(_Section):
    """A radio or wide-area path with declared rates."""

    uplink: Rate = math.inf
    downlink: Rate = math.inf
    rtt: Seconds = 0.0
    snr: Ratio = math.inf


class ProcessWorkerSection(_Section):
    """A worker process that the gateway starts on its own machine."""

    kind: Literal["process"] = "process"


class OpenAIWorkerSection(_Section):
    """An engine that speaks OpenAI's Images API over HTTP."""

    kind: Literal["openai"]
    url: Annotated[str, BeforeValidator(_address)]
    dialect: Literal["openai", "gpt-image", "vllm-omni", "sglang", "localai", "edgegen"] = "openai"
    key_env: str | None = None
    model_names: dict[str, str] = {}
    steps_field: str | None = None
    size: str | None = None
    guidance: Annotated[float, Field(ge=0, le=100)] | None = None
    timeout: Duration = 300.0
    health: Annotated[str, Field(pattern="^/")] | None = None


class PullWorkerSection(_Section):
    """A machine that joins by itself, from wherever it stands."""

    kind: Literal["pull"]
    grace: Duration = 20.0


class RayWorkerSection(_Section):
    """Replicas of a Ray Serve deployment."""

    kind: Literal["ray"]
    address: str | None = None
    replicas: Annotated[int, Field(ge=1, le=1024)] = 1
    max_replicas: Annotated[int, Field(ge=1, le=1024)] | None = None
    side_by_side: Annotated[int, Field(ge=1, le=64)] = 1
    cpus: Annotated[float, Field(ge=0)] = 1.0
    gpus: Annotated[float, Field(ge=0)] = 0.0


class ReplayWorkerSection(_Section):
    """A ready picture after the time that the profile says."""

    kind: Literal["replay"]


WorkerSection = ProcessWorkerSection | OpenAIWorkerSection | PullWorkerSection | RayWorkerSection | ReplayWorkerSection
WORKER_SECTIONS: dict[str, type[_Section]] = {
    "process": ProcessWorkerSection,
    "openai": OpenAIWorkerSection,
    "pull": PullWorkerSection,
    "ray": RayWorkerSection,
    "replay": ReplayWorkerSection,
}
_REAL_MACHINES = (OpenAIWorkerSection, PullWorkerSection, RayWorkerSection)


class NodeSection(_Section):
    """One machine that can generate."""

    name: Name
    tier: Literal["device", "edge", "cloud"]
    models: Annotated[list[str], Field(min_length=1)]
    profiles: dict[str, str] = {}
    slowdown: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    step_time: dict[str, Duration] = {}
    fixed_time: dict[str, Seconds] = {}
    load_time: dict[str, Seconds] = {}
    memory: Size = math.inf
    power: Watts = 0.0
    transmit_power: Watts = 0.0
    price: Price = 0.0
    adjustable_clock: bool = False
    link: LinkSection = LinkSection()
    worker: Annotated[WorkerSection, Field(discriminator="kind"), BeforeValidator(_kind)] = ProcessWorkerSection()

    @property
    def stands_alone(self) -> bool:
        """Whether its worker is a machine or an engine of its own, with its own times."""
        return isinstance(self.worker, _REAL_MACHINES)

    def paced(self, usual: bool) -> bool:
        """Tell whether steps are padded to declared times: never on a machine of its own, always in a replay."""
        return not self.stands_alone and (usual or isinstance(self.worker, ReplayWorkerSection))


class Config(_Section):
    """The whole file."""

    gateway: GatewaySection = GatewaySection()
    policy: PolicySection = PolicySection()
    objective: ObjectiveSection = ObjectiveSection()
    storage: StorageSection = StorageSection()
    jobs: JobsSection = JobsSection()
    models: Annotated[list[ModelSection], Field(min_length=1)]
    nodes: Annotated[list[NodeSection], Field(min_length=1)]

    def node(self, name: str) -> NodeSection:
        """Return a node's section."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise UnknownNameError("node", name, [node.name for node in self.nodes])

    def model(self, name: str) -> ModelSection:
        """Return a model's section."""
        for model in self.models:
            if model.name == name:
                return model
        raise UnknownNameError("model", name, [model.name for model in self.models])


def template() -> str:
    """Return the commented file that `edgegen init` writes; it is also the default configuration."""
    return importlib.resources.files("edgegen").joinpath("data", "edgegen.toml").read_text(encoding="utf-8")


def default_config() -> Config:
    """Return a phone, two unequal edge servers and a cloud."""
    return parse_config(template(), source="the built-in edgegen.toml")


def find_config(path: str | Path | None) -> Config:
    """Return the configuration at a path; without one, `edgegen.toml` in the working directory or the default."""
    if path is not None:
        return load_config(path)
    return load_config(LOCAL_FILE) if Path(LOCAL_FILE).exists() else default_config()


def load_config(path: str | Path) -> Config:
    """Read a configuration file.

    **Raises** `ConfigError`. Paths of profiles, folders and journals inside are relative to the working directory.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"no configuration at {path}; `edgegen init {path}` writes one") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the configuration {path}: {error}") from None
    return parse_config(text, source=str(path))


def parse_config(text: str, *, source: str = "configuration") -> Config:
    """Parse and check a configuration."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source} is not TOML: {error}") from None
    try:
        config = Config.model_validate(data)
    except pydantic.ValidationError as error:
        raise ConfigError(_explain(error, data, source)) from None
    _check(config, source)
    return config


# ---------------------------------------------------------------------------------------------- what may be wrong


def _explain(error: pydantic.ValidationError, data: dict, source: str) -> str:
    lines = [f"{source}: {_explain_one(entry, data)}" for entry in error.errors()[:5]]
    more = error.error_count() - len(lines)
    return "\n".join(lines) + (f"\n(and {more} more)" if more > 0 else "")


def _explain_one(entry: Any, data: dict) -> str:
    where = _place(entry["loc"], data)
    if entry["type"] == "extra_forbidden":
        known = _known_keys(entry["loc"][:-1])
        inside = _place(entry["loc"][:-1], data) or "the file"
        key = str(entry["loc"][-1])
        return f"unknown key {key!r} in {inside};{suggest(key, known)} known: {', '.join(known)}"
    if entry["type"] == "missing":
        return f"{where} is missing"
    message = entry["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    given = "" if entry["type"] == "value_error" else f", got {entry['input']!r}"
    return f"{where}: {message}{given}"


def _place(loc: tuple, data: Any) -> str:
    """Write a location as people would: `nodes "edge-1".link.rtt`."""
    words: list[str] = []
    for part in loc:
        data = _inside(data, part)
        if isinstance(part, int):
            name = data.get("name") if isinstance(data, dict) else None
            words[-1] += f" {name!r}" if isinstance(name, str) else f" [{part}]"
        else:
            words.append(str(part))
    return ".".join(words)


def _inside(data: Any, part: Any) -> Any:
    try:
        return data[part]
    except (KeyError, IndexError, TypeError):
        return None


def _known_keys(loc: tuple) -> list[str]:
    """Return the keys that the section at a location knows."""
    section: Any = Config
    inner = {"models": ModelSection, "nodes": NodeSection, **WORKER_SECTIONS}
    for part in loc:
        if isinstance(part, str):
            section = inner.get(part) or section.model_fields[part].annotation
    return list(section.model_fields)


def _check(config: Config, source: str) -> None:
    """Check what one section alone cannot know."""
    _check_unique(source, "models", [model.name for model in config.models])
    _check_unique(source, "nodes", [node.name for node in config.nodes])
    if bool(config.gateway.tls_cert) != bool(config.gateway.tls_key):
        raise ConfigError(f"{source}: gateway.tls_cert and gateway.tls_key go together; give both or none")
    steps = config.gateway.steps
    if sorted(set(steps)) != steps:
        raise ConfigError(f"{source}: gateway.steps must rise without repeating, got {steps}")
    models = [model.name for model in config.models]
    for node in config.nodes:
        _check_node(source, node, models)
    if not any(node.tier == "device" for node in config.nodes):
        raise ConfigError(f'{source}: no node has tier = "device"; requests need a device to come from')


def _check_node(source: str, node: NodeSection, models: list[str]) -> None:
    where = f"{source}: nodes {node.name!r}"
    for key in ("models", "profiles", "step_time", "fixed_time", "load_time"):
        known = models if key == "models" else node.models
        for name in getattr(node, key):
            if name not in known:
                raise ConfigError(
                    f"{where}.{key} names the model {name!r}, which is not "
                    f"{'defined' if key == 'models' else 'one of its models'};{suggest(name, known)} "
                    f"known: {', '.join(known)}"
                )
    _check_unique(where, "models", node.models)
    if node.adjustable_clock and node.tier != "device":
        raise ConfigError(f"{where}.adjustable_clock is for devices; {node.name!r} has tier {node.tier!r}")
    _check_worker(where, node)
    if node.tier == "device" and node.price > 0:
        raise ConfigError(f"{where}.price: work on the asking device costs energy, not money; remove it")


def _check_worker(where: str, node: NodeSection) -> None:
    match node.worker:
        case OpenAIWorkerSection(model_names=names):
            for name in names:
                if name not in node.models:
                    raise ConfigError(
                        f"{where}.worker.model_names names the model {name!r}, which is not one of its models;"
                        f"{suggest(name, node.models)} known: {', '.join(node.models)}"
                    )
        case RayWorkerSection(replicas=least, max_replicas=most) if most is not None and most < least:
            raise ConfigError(f"{where}.worker.max_replicas must be at least replicas ({least}), got {most}")


def _check_unique(source: str, key: str, names: list[str]) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            raise ConfigError(f"{source}: {key} has {count} entries named {name!r}; names must differ")
