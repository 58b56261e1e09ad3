"""A chat model of the real architecture with hardly any channels and random weights."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

WORDS = ["a", "an", "forklift", "pallet", "in", "on", "the", "red", "old", "hall", "near", "yard", "lorry", "clean"]
TEMPLATE = "{% for message in messages %}[USER] {{ message['content'] }} [END] {% endfor %}[BOT]"


def save_tiny_chat(folder: Path, *, template: str | None = TEMPLATE, seed: int = 3) -> None:
    """Save a chat model that says random words of a short vocabulary."""
    vocabulary = ["[PAD]", "[UNK]", "[END]", "[USER]", "[BOT]", *WORDS]
    inside = Tokenizer(models.WordLevel({word: index for index, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    inside.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inside, pad_token="[PAD]", unk_token="[UNK]", eos_token="[END]", model_max_length=256
    )
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=256,
        bos_token_id=None,
        eos_token_id=2,
        pad_token_id=0,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        LlamaForCausalLM(config).save_pretrained(folder)
