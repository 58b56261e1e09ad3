import json
import re
import shutil
import sys

import diffusers
import pytest
import torch

from dataset_diffusion.config import CaptureSettings, GenerateSettings, make_settings
from dataset_diffusion.diffusion.load import SCHEDULERS, check_offload, load_from_settings, load_model, make_scheduler
from dataset_diffusion.diffusion.specs import MODELS, model_fingerprint, model_spec
from dataset_diffusion.errors import ConfigError, ModelError
from dataset_diffusion.records import Prompt

pytestmark = pytest.mark.slow

TEDDY = Prompt(0, "a teddy bear; teddy bear", "teddy bear", (12,))


def refused(kind, call, *arguments, **options):
    with pytest.raises(kind) as error:
        call(*arguments, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_settings_schedulers_are_the_tables():
    message = refused(ConfigError, make_settings, GenerateSettings, scheduler="heun")
    assert re.findall(r"'([^']+)'", message) == list(SCHEDULERS)
    assert [GenerateSettings(scheduler=name).scheduler for name in SCHEDULERS] == list(SCHEDULERS)


@pytest.mark.parametrize("spec", MODELS.values(), ids=MODELS)
def test_a_models_scheduler_is_one_of_the_table_or_the_class_in_its_files(spec):
    assert spec.scheduler in SCHEDULERS or hasattr(diffusers, spec.scheduler)


def test_a_folder_is_loaded_with_a_spec_from_its_configs(folder):
    model = load_model(str(folder), "cpu")
    assert (model.spec.height, model.spec.width) == (512, 512)
    assert (model.spec.cross_attention.resolution, model.spec.self_attention.resolution) == (16, 32)
    assert type(model.pipeline.scheduler).__name__ == model.spec.scheduler == "DDIMScheduler"  # its own
    assert model.pipeline.unet.dtype == torch.float32


def test_options_of_loading(folder):
    tight = {"channels_last": True, "vae_slicing": True, "vae_tiling": True}
    settings = GenerateSettings(model=str(folder), device="cpu", dtype="bfloat16", scheduler="unipc", **tight)
    model = load_from_settings(settings)
    assert type(model.pipeline.scheduler).__name__ == "UniPCMultistepScheduler"
    assert model.pipeline.scheduler.config.beta_end == 0.012
    assert model.pipeline.unet.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
    assert model.pipeline.vae.use_slicing
    assert model.pipeline.vae.use_tiling
    (drawn,) = model.generate([TEDDY], [1], CaptureSettings(), steps=2, height=64, width=64)
    assert drawn.attention.cross_attention.isfinite().all()


def test_schedulers_keep_latents_unclipped_and_pndm_takes_no_extra_steps():
    config = {"num_train_timesteps": 1000, "beta_schedule": "scaled_linear"}  # as of a scheduler without these settings
    assert not make_scheduler("ddim", config).config.clip_sample
    assert not make_scheduler("lcm", config).config.clip_sample
    pndm = make_scheduler("pndm", config)
    pndm.set_timesteps(10)
    assert len(pndm.timesteps) == 11


def test_an_unknown_scheduler():
    message = refused(ConfigError, make_scheduler, "heun", {})
    assert message == "unknown scheduler; got heun; expected one of ddim, dpm-solver++, euler, lcm, pndm, unipc"


def test_a_folder_of_something_else(tmp_path):
    message = refused(ModelError, load_model, str(tmp_path), "cpu")
    assert "not a diffusers folder of a text-to-image model" in message
    assert "expected unet/config.json, or transformer/config.json, and vae/config.json" in message


@pytest.mark.parametrize("component", ["text_encoder", "vae", "scheduler"])
def test_a_missing_component(copy, component):
    shutil.rmtree(copy / component)
    message = refused(ModelError, load_model, str(copy), "cpu")
    if component == "vae":
        assert message.startswith(f"not a diffusers folder of a text-to-image model; got {copy} (FileNotFoundError: ")
    else:
        assert message.startswith(f"cannot load the diffusion model; got {copy} (without {component}/); expected ")
    assert "; fix: " in message


def test_a_config_that_is_not_json_is_named(copy):
    (copy / "text_encoder" / "config.json").write_text("{")
    message = refused(ModelError, load_model, str(copy), "cpu")
    assert f"; got {copy} (text_encoder/config.json is not JSON: Expecting property name" in message


@pytest.mark.parametrize("change", [{"down_block_types": None}, {"block_out_channels": 3}])
def test_a_config_that_fits_no_unet_beside_weights_that_are_known(change, tmp_path):
    copy = shutil.copytree(MODELS["embedded"].path, tmp_path / "copy")
    file = copy / "unet" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(ModelError, match=r"^cannot load the diffusion model; got "):
        load_model(str(copy), device="cpu")


def test_a_missing_tokenizer(copy):
    shutil.rmtree(copy / "tokenizer")
    message = refused(ModelError, load_model, str(copy), "cpu")
    assert message.startswith("the model's tokenizer has no vocabulary; got ")
    assert message.endswith("expected the files of tokenizer/; fix: save the pipeline again with save_pretrained")


def test_weights_that_are_pickles(copy):
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    message = refused(ModelError, load_model, str(copy), "cpu")
    assert message.startswith("the model's weights are pickles, which can run any code when opened; got unet/diff")
    assert "expected safetensors weights; fix: where you trust them, load them with diffusers and save_pre" in message


def test_weights_that_are_missing(copy):
    (copy / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    message = refused(ModelError, load_model, str(copy), "cpu")
    assert message.startswith("cannot load the diffusion model; got ")


def test_a_folder_of_fp16_files_alone_is_loaded(copy, folder):
    whole = load_model(str(folder), "cpu")
    for name in ("unet", "text_encoder", "vae"):
        for file in list((copy / name).glob("*.safetensors")):
            file.rename(file.with_name(f"{file.stem}.fp16.safetensors"))
    loaded = load_model(str(copy), "cpu")
    for mine, theirs in zip(loaded.pipeline.unet.parameters(), whole.pipeline.unet.parameters(), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("kind", ["StableDiffusionImg2ImgPipeline", "StableDiffusionInpaintPipeline"])
def test_a_pipeline_that_starts_from_pictures(copy, kind):
    index = copy / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"_class_name": kind}))
    with pytest.raises(ModelError, match=f"^not a text-to-image pipeline; got {kind} in .*; expected such as Stable"):
        load_model(str(copy), "cpu")


def test_weights_cut_short(copy):
    weights = copy / "vae" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    message = refused(ModelError, load_model, str(copy), "cpu")
    assert message.startswith("cannot load the diffusion model; got ")


@pytest.mark.parametrize("name", ["sd15", "someone/some-model"])
def test_a_hub_that_cannot_be_reached(name, tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    message = refused(ModelError, load_model, name, "cpu")
    assert f"fix: run `hf download {MODELS[name].path if name in MODELS else name} --local-dir FOLDER`" in message
    assert message.endswith("where there is a network, and pass the folder")


def test_an_unknown_floating_point_type():
    message = refused(ConfigError, load_model, "embedded", "cpu", "float8")
    assert message == "GenerateSettings: bad value of `dtype`; got float8; expected 'float32', 'float16' or 'bfloat16'"


def test_a_hub_id_is_pinned_to_the_commit_that_it_stands_for(folder, tmp_path, monkeypatch):
    """As after a download: the cache keeps a folder per commit, and offline the newest is the one known last."""
    from huggingface_hub import constants

    commit, newer = "1" * 40, "2" * 40
    cached = tmp_path / "models--someone--some-model"
    shutil.copytree(folder, cached / "snapshots" / commit)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(commit)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert model_fingerprint(model_spec("someone/some-model")) == commit
    assert load_model("someone/some-model", "cpu").spec.revision == commit
    shutil.copytree(cached / "snapshots" / commit, cached / "snapshots" / newer)
    (cached / "refs" / "main").write_text(newer)
    assert model_fingerprint(model_spec("someone/some-model")) == newer
    assert model_fingerprint(model_spec(f"someone/some-model@{commit}")) == commit


def test_offloading_needs_a_gpu():
    settings = GenerateSettings(device="cpu", cpu_offload=True)
    message = refused(ConfigError, load_from_settings, settings)
    assert message == "nothing to offload from; got device cpu; expected a GPU with --cpu-offload"


def test_offloading_needs_a_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "accelerate", None)
    message = refused(ModelError, check_offload, torch.device("cuda"))
    assert message == (
        "offloading to the CPU needs the package accelerate; fix: pip install 'dataset-diffusion[offload]'"
    )
