"""The example in docs/papers.md runs, and every system is in its table."""

import pkgutil
import re
from pathlib import Path

from edgegen import papers

PAGE = (Path(__file__).parents[2] / "docs" / "papers.md").read_text()


def test_the_example_runs(capsys):
    (block,) = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.S | re.M)
    exec(block, {})
    assert "of at most" in capsys.readouterr().out


def test_every_system_is_listed():
    names = {found.name for found in pkgutil.iter_modules(papers.__path__)}
    assert names == set(re.findall(r"^\| `(\w+)` \|", PAGE, flags=re.M))
