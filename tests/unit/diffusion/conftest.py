"""A model on disk."""

import shutil

import pytest


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A thin Stable Diffusion as `save_pretrained` writes it."""
    from tests.helpers.tiny_models import thin_pipeline  # loads diffusers, which the quick tests do without

    path = tmp_path_factory.mktemp("models") / "thin"
    thin_pipeline("sd21-base").save_pretrained(path)
    return path


@pytest.fixture
def copy(folder, tmp_path):
    """The same once more, to be damaged."""
    return shutil.copytree(folder, tmp_path / "copy")
