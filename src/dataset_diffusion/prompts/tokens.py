"""From words of a prompt to positions of its tokens, by character offsets (for any fast tokenizer).

A word's place is not its token's place: byte-pair encoding splits words, and class words may be two words themselves.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

from dataset_diffusion.errors import PromptError, check_kind

Span = tuple[int, int]
"""First character and the one after the last."""


@runtime_checkable
class Tokenizer(Protocol):
    """What is used of a ``transformers`` tokenizer."""

    is_fast: bool
    model_max_length: int
    unk_token_id: int | None

    def __call__(self, text: str, **options: Any) -> Any: ...


def token_indices(
    tokenizer: Tokenizer,
    class_prompt: str,
    words: Sequence[str],
    *,
    within: Span | None = None,
    limit: int | None = None,
) -> list[list[int]]:
    """Positions of each word's tokens in ``tokenizer(class_prompt).input_ids``, special tokens counted.

    Words are looked for from left to right, each after the one before it, so that "dog" and "hot dog" are told apart in
    "dog hot dog". Words given in another order are still found, longest first.

    Args:
        tokenizer: a fast ``transformers`` tokenizer.
        class_prompt: the text that the tokens are of; a text prompt will do.
        words: the words to find, each of one or more space-separated words, in any case.
        within: the part of the text to look in; None looks in all of it.
        limit: tokens that the text may have; None takes the tokenizer's.

    Returns:
        One list of ascending positions per word. No position is in two lists.

    Raises:
        PromptError: a word does not occur, has no token of its own, is unknown to the tokenizer, or the class prompt
            is longer than the tokenizer's limit.
    """
    check_kind(class_prompt, str, "class prompt", error=PromptError)
    if isinstance(words, str) or not all(isinstance(word, str) for word in words):
        raise PromptError("class words must be a list of strings", got=repr(words), fix='write ["cat", "bus"]')
    if not getattr(tokenizer, "is_fast", False):
        raise PromptError(
            "the tokenizer does not tell where its tokens stand in the text",
            got=type(tokenizer).__name__,
            fix="load it as a fast tokenizer",
        )
    encoding = tokenizer(class_prompt, return_offsets_mapping=True, truncation=False, verbose=False)
    begin, end = within or (0, len(class_prompt))
    spans = [(start + begin, stop + begin) for start, stop in _find_words(class_prompt[begin:end], words)]
    indices = [_tokens_in(span, encoding.offset_mapping) for span in spans]
    _check_owned(indices, words, class_prompt)
    _check_length(limit or tokenizer.model_max_length, encoding, indices, words, class_prompt)
    _check_known(tokenizer, encoding.input_ids, indices, words)
    return indices


def word_groups(tokenizer: Tokenizer, words: Sequence[str], limit: int | None = None) -> list[slice]:
    """Words in as few groups of neighbours as the limit of tokens (None: the tokenizer's) allows, of about one size.

    A single word that is longer than the limit is a group.
    """
    for count in range(1, len(words) + 1):
        size = -(-len(words) // count)
        groups = [slice(start, start + size) for start in range(0, len(words), size)]
        lengths = (len(tokenizer(" ".join(words[group]), verbose=False).input_ids) for group in groups)
        if all(length <= (limit or tokenizer.model_max_length) for length in lengths):
            break
    return groups


def _find_words(text: str, words: Sequence[str]) -> list[Span]:
    in_order: list[Span] = []
    for word in words:
        start = in_order[-1][1] if in_order else 0
        span = next((span for span in _occurrences(text, word) if span[0] >= start), None)
        if span is None:
            return _find_longest_first(text, words)
        in_order.append(span)
    return in_order


def _find_longest_first(text: str, words: Sequence[str]) -> list[Span]:
    found: dict[int, Span] = {}
    for position in sorted(range(len(words)), key=lambda position: -len(words[position])):
        free = (span for span in _occurrences(text, words[position]) if not _overlaps(span, found.values()))
        span = next(free, None)
        if span is None:
            raise PromptError(
                "the class prompt does not hold a class word",
                got=f"{words[position]!r} in {text!r}",
                fix="name every class in the class prompt, once per use",
            )
        found[position] = span
    return [found[position] for position in range(len(words))]


def _occurrences(text: str, word: str) -> Iterator[Span]:
    if not word.strip():
        raise PromptError("a class without prompt words", got=repr(word), expected="a word of the class prompt")
    spaced = r"\s+".join(map(re.escape, word.split()))
    return (match.span() for match in re.finditer(rf"(?<!\w){spaced}(?!\w)", text, re.IGNORECASE))


def _overlaps(span: Span, others: Iterable[Span]) -> bool:
    return any(span[0] < stop and start < span[1] for start, stop in others)


def _tokens_in(span: Span, offsets: Sequence[Span]) -> list[int]:
    """Positions of the tokens that share a character with a span. Special tokens have none."""
    return [position for position, token in enumerate(offsets) if token[0] < token[1] and _overlaps(token, [span])]


def _check_owned(indices: list[list[int]], words: Sequence[str], class_prompt: str) -> None:
    uses = Counter(position for positions in indices for position in positions)
    for word, positions in zip(words, indices, strict=True):
        if not positions or any(uses[position] > 1 for position in positions):
            raise PromptError(
                "a class word without a token of its own",
                got=f"{word!r} in {class_prompt!r}",
                fix="use another word for the class",
            )


def _check_known(
    tokenizer: Tokenizer, input_ids: Sequence[int], indices: list[list[int]], words: Sequence[str]
) -> None:
    for word, positions in zip(words, indices, strict=True):
        if all(input_ids[position] == tokenizer.unk_token_id for position in positions):
            raise PromptError(
                "a class word that the tokenizer does not know", got=repr(word), fix="use another word for the class"
            )


def _check_length(limit: int, encoding: Any, indices: list[list[int]], words: Sequence[str], class_prompt: str) -> None:
    length = len(encoding.input_ids)
    if length <= limit:
        return
    # Truncation keeps the special tokens at the end, so that the last words go first.
    last = max(position for position, (start, stop) in enumerate(encoding.offset_mapping) if start < stop)
    kept = limit - (length - 1 - last)
    lost = [word for word, positions in zip(words, indices, strict=True) if positions[-1] >= kept]
    raise PromptError(
        "the class prompt is longer than the tokenizer's limit",
        got=f"{length} tokens in {class_prompt!r}",
        expected=f"at most {limit}, special tokens counted",
        fix=f"split it; classes that would be lost: {', '.join(lost)}" if lost else "shorten it",
    )
