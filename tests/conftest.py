"""What many tests share."""

import pytest
import torch

torch.set_num_threads(1)


def pytest_ignore_collect(collection_path, config):
    """Leave out files that are slow as a whole where slow tests are not asked for: importing them takes long, too."""
    if config.option.markexpr == "not slow" and collection_path.suffix == ".py":
        return "\npytestmark = pytest.mark.slow\n" in collection_path.read_text(encoding="utf-8") or None
    return None


@pytest.fixture(scope="session")
def embedded():
    """The embedded model, as users get it."""
    from dataset_diffusion.diffusion.load import load_model

    return load_model("embedded", device="cpu")
