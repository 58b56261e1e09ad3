"""What many tests share."""

import pytest
import torch

torch.set_num_threads(2)


@pytest.fixture(scope="session")
def embedded():
    """The embedded model, as users get it."""
    from dataset_diffusion.diffusion.load import load_model

    return load_model("embedded", device="cpu")
