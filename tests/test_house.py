"""The rules of the house, checked: light imports, public names, sizes, declared dependencies, documents that hold."""

import ast
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import edgegen

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "edgegen"
ADR = ROOT / "docs" / "adr"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

HEAVY = (
    "torch",
    "diffusers",
    "transformers",
    "jax",
    "ray",
    "fastapi",
    "starlette",
    "uvicorn",
    "sqlalchemy",
    "matplotlib",
    "flwr",
    "opacus",
)
MODULE_LINES, PAPER_LINES, FUNCTION_LINES = 500, 300, 80

MODULES = sorted(PACKAGE.rglob("*.py"))
DOCUMENTS = sorted({*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")})


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tracked_files() -> list[Path]:
    """Every file that git tracks or would track."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listing.returncode != 0:
        pytest.skip("this is not a git checkout, so which files belong to the project is not known")
    return sorted(path for name in listing.stdout.split("\0") if name and (path := ROOT / name).is_file())


# ------------------------------------------------------------------------------------------------------ light imports


HELP_PAGE = """
import sys
from edgegen.cli import main
sys.argv = ["edgegen", "--help"]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
"""


def heavy_modules_after(statement: str) -> list[str]:
    """Run the statement in a fresh interpreter and return the heavy modules that it loaded."""
    script = f"{statement}\nimport sys\nprint('HEAVY', *[name for name in {HEAVY!r} if name in sys.modules])"
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=env, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()[-1].split()[1:]


def test_importing_edgegen_loads_nothing_heavy():
    assert heavy_modules_after("import edgegen") == []


def test_the_look_for_heavy_modules_would_see_one():
    assert heavy_modules_after("import sqlite3, fastapi") == ["fastapi", "starlette"]


def test_help_of_the_command_line_loads_nothing_heavy():
    assert heavy_modules_after(HELP_PAGE) == []


def test_a_generation_worker_starts_without_jax_torch_and_the_web():
    assert heavy_modules_after("import edgegen.serve.workers.process") == []


# ------------------------------------------------------------------------------------------------------- public names


def test_public_names_are_the_listed_ones():
    listed = (ROOT / "tests" / "golden" / "public_names.txt").read_text().split()
    assert sorted(edgegen.__all__) == listed, (
        "a public name came or went: change the list on purpose, and the changelog"
    )


@pytest.mark.parametrize("name", edgegen.__all__)
def test_every_public_name_resolves(name):
    assert getattr(edgegen, name) is not None


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        edgegen.nothing  # noqa: B018


# --------------------------------------------------------------------------------------------------------------- sizes


def functions_of(tree: ast.Module) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_modules_and_functions_keep_to_the_caps(path):
    text = path.read_text()
    cap = PAPER_LINES if "papers" in path.relative_to(PACKAGE).parts else MODULE_LINES
    assert len(text.splitlines()) <= cap, f"split {relative(path)}"
    lengths = {node.name: (node.end_lineno or node.lineno) - node.lineno + 1 for node in functions_of(ast.parse(text))}
    assert {name: lines for name, lines in lengths.items() if lines > FUNCTION_LINES} == {}


# -------------------------------------------------------------------------------------------------------- dependencies

# Imported under another name than the one to install.
DISTRIBUTIONS = {"PIL": "pillow", "opentelemetry": "opentelemetry-sdk"}
# Declared, though no module imports them, and why.
NEEDED_UNSEEN = {
    "accelerate": "diffusers loads weights with it",
    "aiosqlite": "SQLAlchemy reads SQLite with it",
    "httptools": "uvicorn is told to read HTTP with it",
    "opentelemetry-exporter-otlp-proto-http": "the same import as opentelemetry-sdk",
    "onnxscript": "torch's exporter imports it",
    "dp-accounting": "Flower's accountant imports it",
    "opacus": "a learner trains privately with it",
    "peft": "diffusers loads LoRA weights with it",
}
# Imported though not declared, and who brings them.
BROUGHT_ALONG = {
    "click": "typer",
    "cryptography": "flwr",
    "jaxlib": "jax",
    "pydantic-core": "pydantic",
    "scipy": "jax",
    "starlette": "fastapi",
}
# Extras beyond the default install, and the parts of the package that may import them.
EXTRAS = {
    "federated": [("tune",)],
    "train": [("train",), ("tune",), ("generate", "backends", "diffusers.py")],
    "oracles": [("plan", "certified", "oracles")],
    "cluster": [("plan", "certified", "wide", "on_ray.py"), ("serve", "workers", "ray_serve.py")],
    "gym": [("sim", "adapters")],
    "tables": [("experiments", "tables.py")],
    "tracing": [("observe", "tracing.py")],
}


def declared(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=!~; ]", requirement)[0].lower().replace("_", "-") for requirement in requirements}


def third_party_imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.partition(".")[0])
    own = names - set(sys.stdlib_module_names) - {"edgegen", "__future__"}
    return {DISTRIBUTIONS.get(name, name).lower().replace("_", "-") for name in own}


def test_every_import_is_declared_where_it_is_used():
    default, optional = PYPROJECT["project"]["dependencies"], PYPROJECT["project"]["optional-dependencies"]
    undeclared = {}
    for path in MODULES:
        parts = path.relative_to(PACKAGE).parts
        extras = [
            optional[extra] for extra, places in EXTRAS.items() if any(parts[: len(place)] == place for place in places)
        ]
        allowed = set().union(*map(declared, [default, *extras]))
        if missing := third_party_imports(path) - allowed - BROUGHT_ALONG.keys():
            undeclared[relative(path)] = sorted(missing)
    assert undeclared == {}


def test_every_declared_dependency_is_used():
    project = PYPROJECT["project"]
    extras = project["optional-dependencies"]
    wanted = set().union(declared(project["dependencies"]), *(declared(extras[extra]) for extra in EXTRAS))
    used = set().union(*map(third_party_imports, MODULES))
    assert sorted(wanted - used - NEEDED_UNSEEN.keys()) == []


def test_every_dependency_is_explained_and_pinned():
    explained = (ADR / "0002-dependencies.md").read_text().lower()
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {line.partition("==")[0].lower().replace("_", "-") for line in lines}
    project = PYPROJECT["project"]
    extras = project["optional-dependencies"]
    names = declared(project["dependencies"]).union(*map(declared, extras.values()))
    assert sorted(name for name in names if f"| `{name}` |" not in explained) == []
    assert sorted(names - pinned) == []


# ----------------------------------------------------------------------------------------------------- import contract


def test_every_room_is_named_in_the_import_contract():
    contracts = PYPROJECT["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["id"] == "rooms")
    named = set(re.findall(r"edgegen\.(\w+)", " ".join(layers)))
    rooms = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    modules = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    assert sorted((rooms | modules) - named) == []


# ---------------------------------------------------------------------------------------------------------- the wheel


def test_the_wheel_carries_every_file_of_the_package(tmp_path, monkeypatch):
    from flit_core import buildapi

    monkeypatch.chdir(ROOT)
    wheel = zipfile.ZipFile(tmp_path / buildapi.build_wheel(str(tmp_path)))
    packed = set(wheel.namelist())
    mine = {path.relative_to(ROOT / "src").as_posix() for path in tracked_files() if PACKAGE in path.parents}
    assert "edgegen/py.typed" in mine
    assert sorted(mine - packed) == []
    assert f"edgegen-{edgegen.__version__}.dist-info/licenses/LICENSE" in packed


def test_the_version_is_the_same_everywhere():
    assert f"version: {edgegen.__version__}" in (ROOT / "CITATION.cff").read_text()
    assert f"## {edgegen.__version__}" in (ROOT / "CHANGELOG.md").read_text()


# ----------------------------------------------------------------------------------------------------------- documents


def test_every_decision_record_is_complete_numbered_and_indexed():
    records = sorted(ADR.glob("[0-9]*.md"))
    index = (ADR / "README.md").read_text()
    assert [int(path.name[:4]) for path in records] == list(range(1, len(records) + 1))
    for path in records:
        assert f"]({path.name})" in index, f"{path.name} is not in docs/adr/README.md"
        headings = re.findall(r"^## (.+)$", path.read_text(), re.MULTILINE)
        assert headings == ["Context", "Decision", "Consequences", "What would change our mind"], path.name


@pytest.mark.parametrize("document", DOCUMENTS, ids=relative)
def test_every_link_between_documents_leads_somewhere(document):
    targets = re.findall(r"\]\(([^)\s]+)\)", document.read_text())
    inside = [target.partition("#")[0] for target in targets if not re.match(r"[a-z]+:|#", target)]
    assert [target for target in inside if not (document.parent / target).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=relative)
def test_every_document_can_be_reached_from_the_front_page_or_the_index(document):
    if document.parent == ROOT or document == ROOT / "docs" / "index.md":
        return
    doors = [ROOT / "README.md", ROOT / "docs" / "index.md", ADR / "README.md"]
    linked = {
        (door.parent / target.partition("#")[0]).resolve()
        for door in doors
        for target in re.findall(r"\]\(([^)\s]+)\)", door.read_text())
    }
    assert document.resolve() in linked, f"link {relative(document)} from docs/index.md"


# What must not be in the repository. The patterns are split so that this file does not contain what it looks for.
FORBIDDEN = {
    "a path of one machine": re.compile(r"(?<![\w./:-])/(?:wo" + r"rk|ro" + r"ot|home/\w+|Users/\w+)/"),
    "the address of a package registry": re.compile(
        r"registry\.npm" + r"js|files\.python" + r"hosted|deb\.debian" + r"\.org|py" + r"pi\.org/simple"
    ),
    "a private key": re.compile("-----BEGIN [A-Z ]*PRIVATE" + " KEY-----"),
    "a merge conflict": re.compile(r"^(?:<{7}|>{7}) ", re.MULTILINE),
}


def test_no_file_mentions_what_does_not_belong_in_it():
    found = {}
    for path in tracked_files():
        content = path.read_bytes()
        if b"\0" in content[:8192]:
            continue
        text = content.decode("utf-8", "replace")
        if kinds := [kind for kind, pattern in FORBIDDEN.items() if pattern.search(text)]:
            found[relative(path)] = kinds
    assert found == {}


def test_scripts_can_be_run_and_are_valid_shell():
    scripts = [ROOT / ".ci" / "run", *(ROOT / "scripts" / name for name in ("demo", "test", "check"))]
    for path in [*scripts, ROOT / "scripts" / "lib.sh"]:
        checked = subprocess.run(["bash", "-n", str(path)], capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stderr
    assert [relative(path) for path in scripts if not os.access(path, os.X_OK)] == []
