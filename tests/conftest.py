"""What every test shares: one thread, 64-bit JAX with strict promotion, and a plain word about what did not run."""

import os

# Before numpy, jax or onnxruntime is imported by anybody, and inherited by the worker processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "Agg")

import importlib.util
import shutil
from collections import defaultdict

import hypothesis
import pytest

hypothesis.settings.register_profile(
    "repeatable",
    derandomize=True,  # a red run is red again tomorrow
    deadline=None,  # the first example pays for a compilation
    database=None,
    print_blob=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("repeatable")

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find_chromium() -> str | None:
    """Return the path of a Chromium of this machine; EDGEGEN_CHROMIUM names one that is elsewhere."""
    named = os.environ.get("EDGEGEN_CHROMIUM")
    return named or next((path for path in map(shutil.which, CHROMIUM_NAMES) if path), None)


def what_is_missing() -> dict[str, str]:
    """Per marker that cannot run on this machine, the reason in words."""
    missing = {}
    if importlib.util.find_spec("torch") is None:
        missing["torch"] = "torch is not installed (docs/adr/0004-torch-pinning.md says how to get a small one)"
    if importlib.util.find_spec("playwright") is None:
        missing["browser"] = "playwright is not installed: pip install -e .[dev]"
    elif find_chromium() is None:
        missing["browser"] = "no Chromium on this machine: install one (Debian: apt install chromium)"
    return missing


def pytest_configure(config: pytest.Config) -> None:
    """Run JAX in 64 bits with strict promotion: a silent cast or broadcast is an error."""
    del config
    if importlib.util.find_spec("jax") is None:  # the rooms that need no jax can be tested without it
        return
    import jax

    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_numpy_dtype_promotion", "strict")
    jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip by name, with the reason, what this machine cannot run."""
    missing = what_is_missing()
    for item in items:
        for marker, reason in missing.items():
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what did not run, and why; say so too when everything ran."""
    skipped = terminalreporter.stats.get("skipped", [])
    deselected = len(terminalreporter.stats.get("deselected", []))
    terminalreporter.section("not run here")
    if deselected:
        terminalreporter.write_line(f"{deselected} tests: not selected by the command line")
    if not skipped:
        terminalreporter.write_line("nothing was skipped")
    for reason, names in sorted(_by_reason(skipped).items()):
        terminalreporter.write_line(f"{len(names)} skipped: {reason}")
        for name in sorted(names):
            terminalreporter.write_line(f"    {name}")


def _by_reason(reports: list) -> dict[str, list[str]]:
    grouped = defaultdict(list)
    for report in reports:
        place = report.longrepr
        reason = place[2] if isinstance(place, tuple) else str(place)
        grouped[reason.removeprefix("Skipped: ")].append(report.nodeid)
    return grouped


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of the Chromium that browser tests start (mark them `browser`)."""
    path = find_chromium()
    assert path, "a test that asks for Chromium must carry the `browser` marker"
    return path
