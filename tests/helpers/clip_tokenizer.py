"""CLIP's real tokenizer, from the vocabulary that open_clip_torch ships."""

import gzip
import importlib.util
from pathlib import Path

import pytest
from tokenizers import pre_tokenizers
from transformers import CLIPTokenizer


def clip_tokenizer() -> CLIPTokenizer:
    package = importlib.util.find_spec("open_clip")
    if package is None:
        pytest.skip("open_clip_torch is not installed; it ships CLIP's vocabulary")
    vocabulary = Path(package.origin).with_name("bpe_simple_vocab_16e6.txt.gz")
    lines = gzip.decompress(vocabulary.read_bytes()).decode().split("\n")
    merges = [tuple(line.split()) for line in lines[1 : 49152 - 256 - 2 + 1]]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*letters, *(letter + "</w>" for letter in letters), *map("".join, merges)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocab = {token: position for position, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=77)
