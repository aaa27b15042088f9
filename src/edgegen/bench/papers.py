"""The directional claims of the published systems that edgegen carries, checked on fixed seeds."""

from collections.abc import Callable

from edgegen.core.result import Bar

NAME = "papers"
SUMMARY = "what the published systems claim against their benchmarks, and how near to the optimum our versions come"


def run(progress: Callable[[str], None]) -> list[Bar]:
    """Check every paper's claims; takes about a minute on one core."""
    from edgegen import papers

    return [bar for name in papers.names() for bar in papers.load(name).claims(progress)]
