"""A word-level CLIP tokenizer: every word of the grammar is one token."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
from transformers import CLIPTokenizer

from edgegen.generate.grammar import Scene
from edgegen.generate.words import MODEL_WORDS
from edgegen.train.recipe import MAX_TOKENS

START, END = "<|startoftext|>", "<|endoftext|>"


def build_tokenizer(folder: Path) -> CLIPTokenizer:
    """Write the vocabulary and merges of the grammar's words into a folder and load them."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary, merges = _byte_pairs(MODEL_WORDS)
    vocab_file, merges_file = folder / "vocab.json", folder / "merges.txt"
    vocab_file.write_text(json.dumps(vocabulary))
    merges_file.write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    tokenizer = CLIPTokenizer(
        str(vocab_file), str(merges_file), unk_token=END, pad_token=END, model_max_length=MAX_TOKENS
    )
    tokenizer.model_max_length = MAX_TOKENS
    return tokenizer


def word_ids() -> dict[str, int]:
    """Map every word of the grammar, and the two marks, to its token id."""
    vocabulary, _ = _byte_pairs(MODEL_WORDS)
    ids = {word: vocabulary[f"{word}</w>"] for word in MODEL_WORDS}
    return {**ids, START: vocabulary[START], END: vocabulary[END]}


def encode_captions(scenes: list[Scene]) -> np.ndarray:
    """Turn captions into token ids, int64[B, MAX_TOKENS], padded with the end mark as the tokenizer does."""
    ids = word_ids()
    out = np.full((len(scenes), MAX_TOKENS), ids[END], np.int64)
    for row, scene in enumerate(scenes):
        words = scene.caption().replace(",", " ,").split()
        out[row, : len(words) + 1] = [ids[START], *(ids[word] for word in words)]
    return out


def nothing() -> np.ndarray:
    """Token ids of the empty caption, int64[MAX_TOKENS]."""
    ids = word_ids()
    return np.array([ids[START]] + [ids[END]] * (MAX_TOKENS - 1), np.int64)


def _byte_pairs(words: tuple[str, ...]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Learn merges until every word is one token (ordinary byte-pair training, so encoding replays it exactly)."""
    split = {word: [*word[:-1], f"{word[-1]}</w>"] for word in words}
    letters = sorted({letter for word in words for letter in word})
    symbols = [*letters, *(f"{letter}</w>" for letter in letters)]
    merges: list[tuple[str, str]] = []
    while any(len(parts) > 1 for parts in split.values()):
        pairs = Counter(pair for parts in split.values() for pair in pairwise(parts))
        best = max(sorted(pairs), key=lambda pair: pairs[pair])
        merges.append(best)
        split = {word: _merged(parts, best) for word, parts in split.items()}
    joined = [a + b for a, b in merges]
    return {symbol: at for at, symbol in enumerate([*symbols, *joined, START, END])}, merges


def _merged(parts: list[str], pair: tuple[str, str]) -> list[str]:
    out: list[str] = []
    for part in parts:
        if out and (out[-1], part) == pair:
            out[-1] += part
        else:
            out.append(part)
    return out
