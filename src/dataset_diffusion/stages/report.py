"""The stage that shows: one page about a run or a dataset."""

from __future__ import annotations

from pathlib import Path

from dataset_diffusion.report.page import write_report


def report(run: Path) -> Path:
    """Write the page about a run or a dataset; where it is. It loads no model and opens no benchmark."""
    return write_report(run)
