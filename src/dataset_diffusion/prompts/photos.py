"""Photos in a folder, and the file that keeps their captions. Imports no torch.

The file is JSON lines, one photo a line: ``{"photo", "bytes", "captioner", "caption"}``. It is a captions file like any
other. A photo whose caption it holds is not captioned again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from dataset_diffusion.disk.atomic import explained_write_errors, sync_file
from dataset_diffusion.errors import DatasetError, PromptError, Skipped, leave_out

Key = tuple[str, int]
"""What tells a photo from another: its path in the folder and its size in bytes."""
Captions = list[str | DatasetError]
"""Of a batch of photos: a caption, or why there is none."""

_BEGIN = b'{"photo": '


def photo_key(photo: Path, folder: Path) -> Key:
    """What the captions file knows a photo by."""
    return photo.relative_to(folder).as_posix(), photo.stat().st_size


def uncaptioned_batches(photos: Mapping[Path, Key], known: Mapping[Key, str], batch_size: int) -> list[list[Path]]:
    """The photos without a caption, in batches of at most ``batch_size``.

    Photos keep their batch whichever of the others are captioned, as low-order bits may depend on it.
    """
    listed = list(photos)
    batches = (listed[start : start + batch_size] for start in range(0, len(listed), batch_size))
    missing = ([photo for photo in batch if photos[photo] not in known] for batch in batches)
    return [batch for batch in missing if batch]


def read_photo_captions(file: Path, captioner: str) -> dict[Key, str]:
    """The captions of a file that a captioner made. A line that a killed writer left unfinished is none of them."""
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
    skip_bad: Skipped | None = None,
) -> Iterator[int]:
    """Append captions to ``file`` as they come, batch by batch.

    Args:
        captioned: batches of photos and the captions of each; taken one at a time.
        folder: the folder the photos are in.
        captioner: the captioner's name.
        file: the captions file; what is in it stays, except a line that a killed writer left unfinished.
        skip_bad: takes photos that cannot be read; None refuses them, once the captions of their batch are written.

    Yields:
        The number of photos of each batch, once its captions are written.

    Raises:
        DatasetError: a photo cannot be read, or ``file`` cannot be written.
        PromptError: ``file`` is another one.
    """
    _cut_unfinished(file)
    for batch, made in captioned:
        captions = [(photo_key(photo, folder), one) for photo, one in zip(batch, made, strict=True) if type(one) is str]
        if captions:
            _append(file, captioner, captions)
        for photo, one in zip(batch, made, strict=True):
            if isinstance(one, DatasetError):
                leave_out(str(photo), one, skip_bad)
        yield len(batch)


def _cut_unfinished(file: Path) -> None:
    """Take away the line that a killed writer left unfinished; a last line of anybody else's is refused."""
    if not file.exists():
        return
    whole, _, rest = file.read_bytes().rpartition(b"\n")
    if not (rest.startswith(_BEGIN) or _BEGIN.startswith(rest)):
        raise PromptError(
            "the file is none of captions of photos", got=str(file), fix="remove or rename it, or use another --out"
        )
    os.truncate(file, len(whole) + bool(whole))


def _append(file: Path, captioner: str, captions: Iterable[tuple[Key, str]]) -> None:
    lines = [
        # Escaped, since a file's name may be no UTF-8.
        json.dumps({"photo": name, "bytes": size, "captioner": captioner, "caption": caption})
        for (name, size), caption in captions
    ]
    with explained_write_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("ab") as opened:
            opened.write(("\n".join(lines) + "\n").encode())
            sync_file(opened)
