"""Small tokenizers of the kinds that text encoders have, made on the spot."""

from __future__ import annotations

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

WORDS = ["a", "photo", "of", "cat", "and", "bus", "in", "the", "snow", "dog", "teddy", "bear", "traffic", "light"]


CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\\n{{ message.content }}<|im_end|>\\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\\n{% endif %}"
)
"""As Qwen's chat models have it."""


def sentencepiece_like(
    *, start: str = "", end: str = "", limit: int = 512, padding_side: str = "right"
) -> PreTrainedTokenizerFast:
    """Pieces that begin with a space: the words above whole, others letter by letter."""
    special = ["<pad>", "<unk>", *filter(None, (start, end))]
    pieces = [*special, *map(chr, range(33, 127)), "▁", *(f"▁{word}" for word in WORDS)]
    raw = Tokenizer(models.Unigram([(piece, -1.0 - 5.0 * (len(piece) < 2)) for piece in pieces], unk_id=1))
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    raw.post_processor = processors.TemplateProcessing(
        single=" ".join(filter(None, (start, "$A", end))),
        special_tokens=[(token, pieces.index(token)) for token in (start, end) if token],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=raw,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token=start or None,
        eos_token=end or None,
        model_max_length=limit,
        padding_side=padding_side,
        chat_template=CHAT,
    )
