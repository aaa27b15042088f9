"""CLIP's tokenizer on its own two files, without a library: what pipelines exported to ONNX read prompts with.

Byte pair encoding (Sennrich et al. 2016, arXiv:1508.07909) on lower-cased text, each word ending with `</w>`.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Mapping, Sequence

import numpy as np

WORDS = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[^\W\d_]+|\d|(?:[^\s\w]|_)+")
END_OF_WORD = "</w>"


def _printable() -> dict[int, str]:
    """Map every byte to a character that can be printed, as the vocabulary's files do."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in plain]
    return {**{byte: chr(byte) for byte in plain}, **{byte: chr(256 + at) for at, byte in enumerate(rest)}}


_BYTES = _printable()


class BytePairs:
    """Turns prompts into token ids int64[B, length], padded at the end.

    vocabulary: ids by token. merges: pairs in the order in which they are joined. start, end, pad: ids.
    """

    def __init__(
        self,
        vocabulary: Mapping[str, int],
        merges: Sequence[Sequence[str]],
        *,
        start: int,
        end: int,
        pad: int,
        length: int,
    ) -> None:
        self._ids = vocabulary
        self._ranks = {tuple(pair): rank for rank, pair in enumerate(merges)}
        self._start, self._end, self._pad, self._length = start, end, pad, length
        self._pieces = functools.lru_cache(4096)(self._split)

    def __call__(self, prompts: Sequence[str]) -> np.ndarray:
        """Tokenize; what is longer than the window is cut."""
        out = np.full((len(prompts), self._length), self._pad, np.int64)
        for row, prompt in enumerate(prompts):
            words = WORDS.findall(" ".join(prompt.lower().split()))
            ids = [identifier for word in words for identifier in self._pieces(word)][: self._length - 2]
            out[row, : len(ids) + 2] = [self._start, *ids, self._end]
        return out

    def _split(self, word: str) -> tuple[int, ...]:
        """Join the word's bytes pair by pair, those that were learnt first at first; what is not known is the end mark."""
        parts = [_BYTES[byte] for byte in word.encode()]
        parts[-1] += END_OF_WORD
        while len(parts) > 1:
            ranks = [self._ranks.get(pair, len(self._ranks)) for pair in itertools.pairwise(parts)]
            least = min(ranks)
            if least == len(self._ranks):
                break
            at = ranks.index(least)
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        return tuple(self._ids.get(part, self._end) for part in parts)
