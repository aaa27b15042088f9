"""Published systems, one file each, on top of the shared parts.

Every file opens with its citation and says what was read in the source, what was derived, and what was guessed. It has a
`CITATION`, and `claims(progress) -> list[Bar]`: the source's directional claims, checked on fixed seeds.
"""
