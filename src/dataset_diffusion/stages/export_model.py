"""The stage that hands a trained segmenter on: one file for another runtime."""

from __future__ import annotations

from pathlib import Path

from dataset_diffusion.config import ExportModelSettings
from dataset_diffusion.disk.atomic import write_file
from dataset_diffusion.errors import ConfigError
from dataset_diffusion.segmentation.model_folder import ModelFolder
from dataset_diffusion.segmentation.portable import Agreement, export_segmenter


def export_model(model: Path, settings: ExportModelSettings, out: Path) -> Agreement:
    """Write a trained segmenter as one file, once it was found to compute what the segmenter does.

    Args:
        model: folder of the trained segmenter.
        settings: the format, and the size of the pictures.
        out: the file, which is replaced where there is one.

    Returns:
        How well the file agrees with the segmenter, on made-up pictures.

    Raises:
        ConfigError: ``out`` is a folder.
        DatasetError: ``out`` cannot be written.
        ModelError: the segmenter cannot be loaded, or not be exported so; see `export_segmenter`.
    """
    if out.is_dir():
        raise ConfigError("--out is a folder", got=str(out), expected="a file, such as segmenter.onnx")
    trained = ModelFolder.open(model).load("cpu")
    data, agreement = export_segmenter(trained, settings.format, settings.size)
    write_file(out, data)
    return agreement
