"""Where a method comes from, so that machines can cite it too."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Citation:
    """One published source."""

    key: str
    authors: str
    title: str
    year: int
    identifier: str  # for instance "arXiv:2312.06203" or a DOI

    def bibtex(self) -> str:
        """Return a BibTeX entry."""
        fields = {"author": self.authors, "title": self.title, "year": self.year, "note": self.identifier}
        body = ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items())
        return f"@misc{{{self.key},\n{body}\n}}"


OQC = Citation(
    key="wang2023oqc",
    authors="Wang, Yitong and Liu, Chang and Zhao, Jun",
    title="Offloading and Quality Control for AI Generated Content Services in 6G Mobile Edge Computing Networks",
    year=2023,
    identifier="arXiv:2312.06203",
)
