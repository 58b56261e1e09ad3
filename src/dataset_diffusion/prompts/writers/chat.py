"""A local chat model of transformers that answers questions. Torch is imported when one is loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from dataset_diffusion.errors import ModelError, first_line
from dataset_diffusion.machine.hub import NO_CODE, SAFE, load_pretrained

Ask = Callable[[Sequence[str], int], list[str]]
"""Answers to questions, from a seed: `Chat.answer`."""

TEMPERATURE, TOP_P = 0.9, 0.95


@dataclass(frozen=True, eq=False)
class Chat:
    """A causal language model and its tokenizer, which has a chat template."""

    name: str
    tokenizer: Any
    model: Any

    def answer(self, questions: Sequence[str], seed: int, max_new_tokens: int = 60) -> list[str]:
        """An answer to each question, sampled: the same for the same questions in the same order and the same seed."""
        import torch

        texts = [
            self.tokenizer.apply_chat_template(
                [{"role": "user", "content": question}], tokenize=False, add_generation_prompt=True
            )
            for question in questions
        ]
        inputs = self.tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
        inputs = {name: inputs[name].to(self.model.device) for name in ("input_ids", "attention_mask")}
        with torch.random.fork_rng(), torch.inference_mode():
            torch.manual_seed(seed)
            tokens = self.model.generate(
                **inputs,
                max_new_tokens=max_new_tokens,
                do_sample=True,
                temperature=TEMPERATURE,
                top_p=TOP_P,
                pad_token_id=self.tokenizer.pad_token_id,
            )
        said: list[str] = self.tokenizer.batch_decode(
            tokens[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True
        )
        return said


def load_chat(name_or_path: str, device: str | None = None) -> Chat:
    """Load a chat model.

    Args:
        name_or_path: a hub id, or a local folder that ``save_pretrained`` wrote.
        device: ``cpu``, ``cuda``, …; None takes the best one there is.

    Raises:
        ModelError: no such folder or hub repository, or not a chat model.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    from dataset_diffusion.machine.devices import inference_dtype, resolve_device

    where, kind = resolve_device(device), "a causal language model of transformers whose tokenizer has a chat template"
    logging.disable_progress_bar()
    tokenizer, model = load_pretrained(
        name_or_path,
        lambda: (
            AutoTokenizer.from_pretrained(name_or_path, padding_side="left", **NO_CODE),
            AutoModelForCausalLM.from_pretrained(name_or_path, dtype=inference_dtype(where), **SAFE),
        ),
        explain=lambda error: ModelError(
            "the folder holds no chat model", got=f"{name_or_path}: {first_line(error)}", expected=kind
        ),
        missing="cannot get the chat model",
        expected="a local folder, or a chat model of a hub that can be reached",
        folder="chat",
        then="then pass --llm chat",
    )
    if tokenizer.chat_template is None:
        raise ModelError("not a chat model", got=f"{name_or_path} without a chat template", expected=kind)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return Chat(name_or_path, tokenizer, model.to(where).eval())
