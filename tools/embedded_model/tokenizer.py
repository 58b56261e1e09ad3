"""The embedded model's own BPE tokenizer, in CLIP's format. Its vocabulary is so small that some class words split."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTokenizer

START, END = "<|startoftext|>", "<|endoftext|>"
NUM_MERGES = 120
MAX_TOKENS = 48

RARE_WORDS = {"airplane": "air plane", "elephant": "ele phant", "umbrella": "umb rella"}
"""Class words of which the tokenizer learns only pieces, as CLIP's does of rarer words, so that they become several
tokens: the mapping from words to tokens must hold for these too."""


def train_tokenizer(texts: Iterable[str], folder: Path) -> CLIPTokenizer:
    """Learn the merges from ``texts`` and save the tokenizer to ``folder``."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary_size = 2 * len(alphabet) + NUM_MERGES + 2
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token=END))
    learner.normalizer = normalizers.Lowercase()
    learner.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel(False)])
    learner.train_from_iterator(
        (re.sub("|".join(RARE_WORDS), lambda word: RARE_WORDS[word.group()], text) for text in texts),
        trainers.BpeTrainer(vocab_size=vocabulary_size, initial_alphabet=alphabet, end_of_word_suffix="</w>"),
    )
    merges = [tuple(pair) for pair in json.loads(learner.to_str())["model"]["merges"]][:NUM_MERGES]
    symbols = alphabet + [f"{symbol}</w>" for symbol in alphabet] + ["".join(pair) for pair in merges] + [START, END]
    vocabulary = {symbol: position for position, symbol in enumerate(dict.fromkeys(symbols))}
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=MAX_TOKENS, pad_token=END)
    tokenizer.save_pretrained(folder)
    return tokenizer
