"""The Hugging Face hub and its libraries: what they may load, and in one line why they cannot.

Where there is no network the user hears so at once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from dataset_diffusion.errors import ModelError, first_line

Loaded = TypeVar("Loaded")

NO_CODE: dict[str, Any] = {"trust_remote_code": False}
"""What every ``from_pretrained`` is told: Python files of a folder or repository are not run, and nobody is asked."""
SAFE: dict[str, Any] = {**NO_CODE, "use_safetensors": True}
"""What those of models are told: neither are weights that can run code when they are opened."""

_PATIENCE = 10.0
"""Seconds to wait for the hub's first answer."""


def load_pretrained(
    name_or_path: str,
    load: Callable[[], Loaded],
    *,
    missing: str,
    expected: str,
    explain: Callable[[Exception], ModelError] | None = None,
    say_why: bool = False,
    folder: str = "FOLDER",
    then: str = "and pass the folder",
) -> Loaded:
    """Load from a local folder or the hub, and say in one line why that cannot be done.

    Args:
        name_or_path: a local folder, or a hub id.
        load: calls the library.
        missing: the error where the hub does not give the repository.
        expected: what would have been accepted there.
        explain: the error of a local folder.
        say_why: also tell what the library says about the hub.
        folder: where the error's fix has the repository downloaded to.
        then: what the user is to do after that.

    Raises:
        ModelError: the library cannot load it.
    """
    from safetensors import SafetensorError
    from transformers import dynamic_module_utils

    # A part of a library that was not told `NO_CODE` would ask on the terminal; with no time to answer it refuses.
    dynamic_module_utils.TIME_OUT_REMOTE_CODE = 0
    local = Path(name_or_path).is_dir()
    if not local:
        prepare_hub()
    try:
        return load()
    except (OSError, ValueError, TypeError, KeyError, ImportError, AttributeError, SafetensorError) as error:
        if local and explain is not None:
            raise explain(error) from error
        raise ModelError(
            missing,
            got=f"{name_or_path} ({first_line(error)})" if say_why else name_or_path,
            expected=expected,
            fix=f"run `hf download {name_or_path} --local-dir {folder}` where there is a network, {then}",
        ) from error


def download(hub_id: str, patterns: Sequence[str], what: str, *, revision: str | None = None, place: str) -> Path:
    """Files of a repository, in the folder of its commit, by whose hash it is named.

    Args:
        hub_id: ``owner/name``.
        patterns: which files, as in ``["*.safetensors"]``.
        what: is asked for; it stands in the error.
        revision: the commit; None takes the newest, offline the newest known.
        place: what the user may have meant on this machine, a file or a folder.

    Raises:
        ModelError: the hub does not give it.
    """
    from huggingface_hub import snapshot_download

    return load_pretrained(
        hub_id,
        lambda: Path(snapshot_download(hub_id, revision=revision, allow_patterns=list(patterns))),
        missing=f"the hub does not give {what}, and there is no such {place}",
        expected="a repository that exists and can be reached",
    )


def prepare_hub() -> None:
    """Call before a library that may download: one that cannot reach the hub looks into its cache alone.

    Left to themselves the libraries ask for every file six times, with a warning and a longer pause each time.
    """
    from huggingface_hub import constants, get_session

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    if constants.HF_HUB_OFFLINE:
        return
    try:
        get_session().head(constants.ENDPOINT, timeout=_PATIENCE)
    except Exception:  # of the HTTP library, which is another one in every few versions of huggingface_hub
        constants.HF_HUB_OFFLINE = True
