"""Captions for photos, by an image-to-text model of transformers. Torch is imported when a captioner is loaded.

Captions are kept as they are made in a JSON lines file, one photo a line: ``{"photo", "bytes", "captioner",
"caption"}``. It is a captions file like any other, and what is in it is not made again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from dataset_diffusion.errors import ModelError, PromptError, first_line
from dataset_diffusion.machine.hub import load_pretrained
from dataset_diffusion.prompts.captions import OnBad, clean_caption, refuse
from dataset_diffusion.prompts.photos import Key, photo_key, read_photo

BATCH_SIZE = 16
MAX_NEW_TOKENS = 40
NUM_BEAMS = 3

Captions = list[str | PromptError]
"""Of a batch of photos: a caption, or why there is none."""


@dataclass(frozen=True, eq=False)
class Captioner:
    """An image-to-text model and the processor of its inputs and outputs."""

    name: str
    processor: Any
    model: Any

    def caption(self, photos: Sequence[Image.Image]) -> list[str]:
        """One caption for each RGB photo, by beam search: the same for the same photos."""
        import torch

        inputs = self.processor(images=list(photos), return_tensors="pt").to(self.model.device, self.model.dtype)
        with torch.inference_mode():
            tokens = self.model.generate(**inputs, max_new_tokens=MAX_NEW_TOKENS, num_beams=NUM_BEAMS, do_sample=False)
        return [clean_caption(text) for text in self.processor.batch_decode(tokens, skip_special_tokens=True)]

    def caption_files(self, photos: Sequence[Path]) -> Captions:
        """A caption for each photo that can be read, computed at once, and what is wrong with the others."""
        read = [read_photo(photo) for photo in photos]
        images = [one for one in read if isinstance(one, Image.Image)]
        captions = iter(self.caption(images) if images else [])
        return [one if isinstance(one, PromptError) else next(captions) for one in read]


def load_captioner(name_or_path: str, device: str | None = None) -> Captioner:
    """Load a captioner: one that needs no question, such as BLIP.

    Args:
        name_or_path: a hub id, or a local folder that ``save_pretrained`` wrote.
        device: ``cpu``, ``cuda``, …; None takes the best one there is.

    Raises:
        ModelError: no such folder or hub repository, or not an image-to-text model.
    """
    from transformers import AutoModelForImageTextToText, AutoProcessor
    from transformers.utils import logging

    from dataset_diffusion.machine.devices import inference_dtype, resolve_device

    where = resolve_device(device)
    logging.disable_progress_bar()
    options: dict[str, Any] = {"trust_remote_code": False}
    processor, model = load_pretrained(
        name_or_path,
        lambda: (
            AutoProcessor.from_pretrained(name_or_path, **options),
            AutoModelForImageTextToText.from_pretrained(name_or_path, dtype=inference_dtype(where), **options),
        ),
        explain=lambda error: ModelError(
            "the folder holds no captioner",
            got=f"{name_or_path}: {first_line(error)}",
            expected="an image-to-text model of transformers with its processor, such as BLIP",
        ),
        missing="cannot get the captioner",
        expected="a local folder, or an image-to-text model of a hub that can be reached",
        folder="captioner",
        then="then pass --captioner captioner",
    )
    return Captioner(name_or_path, processor, model.to(where).eval())


def read_photo_captions(file: Path, captioner: str) -> dict[Key, str]:
    """Captions that a captioner has made before. A line that a killed writer left unfinished is none."""
    captions = {}
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines() if file.exists() else ():
        try:
            row = json.loads(line)
            if row["captioner"] == captioner:
                captions[row["photo"], row["bytes"]] = row["caption"]
        except (ValueError, KeyError, TypeError):
            continue
    return captions


def write_captions(
    captioned: Iterable[tuple[Sequence[Path], Captions]],
    folder: Path,
    captioner: str,
    file: Path,
    on_bad: OnBad = refuse,
) -> Iterator[int]:
    """Append captions to ``file`` as they come, batch by batch.

    Args:
        captioned: batches of photos and what `Captioner.caption_files` made of each; taken one at a time.
        folder: the folder the photos are in.
        captioner: the captioner's name.
        file: the captions file; what is in it stays.
        on_bad: what to do about a photo that cannot be read. Refused by default.

    Yields:
        How many photos were dealt with, after each batch.

    Raises:
        PromptError: a photo cannot be read, or ``file`` cannot be written.
    """
    _remove_unfinished_line(file)
    for batch, made in captioned:
        captions = [(photo_key(photo, folder), one) for photo, one in zip(batch, made, strict=True) if type(one) is str]
        if captions:
            _append(file, captioner, captions)
        for one in made:
            if isinstance(one, PromptError):
                on_bad(one)
        yield len(batch)


def _append(file: Path, captioner: str, captions: Iterable[tuple[Key, str]]) -> None:
    lines = [
        # Escaped, since a file's name may be no UTF-8.
        json.dumps({"photo": name, "bytes": size, "captioner": captioner, "caption": caption})
        for (name, size), caption in captions
    ]
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("ab") as opened:
            opened.write(("\n".join(lines) + "\n").encode())
            opened.flush()
            os.fsync(opened.fileno())
    except OSError as error:
        raise PromptError("cannot write the captions", got=f"{file}: {error.strerror}", fix="make room") from error


def _remove_unfinished_line(file: Path) -> None:
    if file.exists():
        written = file.read_bytes()
        os.truncate(file, written.rfind(b"\n") + 1)
