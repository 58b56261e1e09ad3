"""The Hugging Face hub, asked so that where there is no network the user hears so at once and in one line."""

from __future__ import annotations

import logging

_PATIENCE = 10.0
"""Seconds to wait for the hub's first answer."""


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
