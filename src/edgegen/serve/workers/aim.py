"""How many denoising steps a picture in the making is going to have, and until when that can change."""

import dataclasses


@dataclasses.dataclass
class Aim:
    """Steps begun, the one in work included, and steps in all."""

    steps: int
    begun: int = 0

    def may_become(self, steps: int) -> bool:
        """Whether there is still time: neither so many steps nor the last one may have begun."""
        return self.begun < min(steps, self.steps)

    def next(self) -> int | None:
        """Begin the next step and return its number, or None when all are done."""
        if self.begun == self.steps:
            return None
        self.begun += 1
        return self.begun
