"""What the documents tell people to type is typed here and run.

What they tell people to send to a gateway is sent in tests/serve/test_front_page.py."""

import re
import shlex
from pathlib import Path

import jax
import pytest
import typer
from typer.testing import CliRunner

from edgegen.cli import app

ROOT = Path(__file__).parents[1]
DOCUMENTS = [path for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))] if "adr" not in path.parts]
LONG = (
    "demo",
    "serve",
    "builtin train",
    "builtin sheet",
    "profile measure",
    "bench",
    "train fleet",
    "train aaas",
    "tune demo",
    "gap",
    "replay azure-functions --rate 24",
)  # run until stopped, or for minutes
NEEDS_A_FILE = (
    "journal",
    "profile check",
    "keys revoke",
    "tune show",
    "tune judge",
    "tune attack",
    "tune publish",
)  # about a file of one's own; tests/cli and tests/dispatch run them
NEEDS_A_GATEWAY = ("worker",)  # tests/serve/test_pull.py runs them


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), flags=re.S | re.M)


def commands(path: Path) -> list[str]:
    """Every `edgegen ...` line of a document's shell blocks, without comments, prompts and continuation."""
    found = []
    for block in blocks(path, "(?:bash|console|sh)"):
        text = block.replace("\\\n", " ")
        for line in text.splitlines():
            words = shlex.split(line.removeprefix("$ ").strip(), comments=True) if "edgegen" in line else []
            if words and words[0] in ("edgegen", ".venv/bin/edgegen"):
                found.append(shlex.join(words[1:]))
    return found


COMMANDS = sorted({(path.name, command) for path in DOCUMENTS for command in commands(path)})


def group():
    return typer.main.get_command(app)


def known_options(words: list[str]) -> tuple[str, set[str]]:
    """The command that these words name, and the options that it takes."""
    command, name = group(), []
    for word in words:
        inner = getattr(command, "commands", {}).get(word)
        if inner is None:
            break
        command, name = inner, [*name, word]
    options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    return " ".join(name), options | {"--help"}


@pytest.mark.parametrize(("document", "command"), COMMANDS)
def test_a_documented_command_exists_with_its_options(document, command):
    words = shlex.split(command)
    name, options = known_options(words)
    assert name or words == ["--help"] or words == ["--install-completion"], f"{document}: edgegen {command}"
    used = {word.split("=")[0] for word in words if word.startswith("--")} - {"--install-completion"}
    assert used <= options, f"{document}: edgegen {command}: no option {used - options}"


SHORT = [c for c in COMMANDS if not c[1].startswith((*LONG, *NEEDS_A_FILE, *NEEDS_A_GATEWAY, "--install"))] + [
    ("", "bench list")
]


@pytest.mark.parametrize(("document", "command"), SHORT)
def test_a_documented_command_runs(document, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "edgegen-runs").mkdir()
    done = CliRunner().invoke(app, shlex.split(command))
    assert done.exit_code == 0, f"{document}: edgegen {command}\n{done.output}\n{done.exception!r}"


@pytest.mark.parametrize("block", blocks(ROOT / "docs" / "certificate.md", "python"))
def test_what_the_page_about_certificates_claims_holds(block):
    exec(compile(block, "certificate.md", "exec"), {})


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "tutorials").glob("*.md")), ids=lambda path: path.stem)
def test_a_tutorial_runs_from_top_to_bottom(path):
    code = "\n".join(blocks(path, "python"))
    # As a reader runs it, not in the precision of the tests.
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        exec(compile(code, path.name, "exec"), {"__name__": "tutorial"})


def test_every_command_is_documented():
    text = (ROOT / "docs" / "command-line.md").read_text()
    missing = [name for name in group().commands if f"`edgegen {name}`" not in text]
    assert missing == []
