import json
import re
import shutil
import sys
from dataclasses import asdict, replace

import diffusers
import pytest
import torch
from tests.helpers.architectures import ARCHITECTURES
from tests.helpers.tiny_models import SPEC, thin_model, thin_pipeline

from dataset_diffusion.config import CaptureSettings, GenerateSettings, make_settings
from dataset_diffusion.diffusion.families.unet import UNetModel
from dataset_diffusion.diffusion.load import SCHEDULERS, check_offload, load_from_settings, load_model, make_scheduler
from dataset_diffusion.diffusion.specs import MODELS, LayerChoice, model_fingerprint, model_spec
from dataset_diffusion.errors import ConfigError, ModelError, PromptError
from dataset_diffusion.records import Prompt

pytestmark = pytest.mark.slow

TEDDY = Prompt(0, "a teddy bear; teddy bear", "teddy bear", (12,))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A thin Stable Diffusion as `save_pretrained` writes it."""
    path = tmp_path_factory.mktemp("models") / "thin"
    thin_pipeline("sd21-base").save_pretrained(path)
    return path


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


def refused(kind, call, *arguments, **options):
    with pytest.raises(kind) as error:
        call(*arguments, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def plan(model, **options):
    return model.spec.resolve(GenerateSettings(**options))


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


def test_an_unknown_model_and_a_folder_that_is_not_there():
    for name in ("sd16", "./models/none", "my models/none", "../none", "-/none"):
        message = refused(ModelError, model_spec, name)
        assert message.startswith(f"unknown model; got {name}; expected one of embedded, sd15, sd21-base, sdxl-base, ")


def test_a_single_checkpoint_file(tmp_path):
    file = tmp_path / "model.ckpt"
    file.write_bytes(b"")
    message = refused(ModelError, model_spec, str(file))
    assert "the model is a single file" in message
    assert "fix: convert it: StableDiffusionPipeline.from_single_file(FILE).save_pretrained(FOLDER)" in message


def test_a_folder_of_something_else(tmp_path):
    message = refused(ModelError, load_model, str(tmp_path), "cpu")
    assert "not a diffusers folder of a UNet model" in message
    assert "expected unet/config.json and vae/config.json" in message


@pytest.mark.parametrize("change", [{"sample_size": None}, {"sample_size": []}, {"down_block_types": None}])
def test_a_config_that_says_too_little(copy, change):
    file = copy / "unet" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    assert refused(ModelError, model_spec, str(copy)).startswith("not a diffusers folder of a UNet model; got ")


@pytest.mark.parametrize("name", ["sd15", "sd21-base", "sdxl-base"])
def test_a_copy_of_a_named_model_has_the_attention_of_its_row(name, tmp_path):
    full = ARCHITECTURES[name]
    for component, config in (("unet", full.unet), ("vae", full.vae)):
        (tmp_path / component).mkdir()
        (tmp_path / component / "config.json").write_text(json.dumps(config))
    derived, row = model_spec(str(tmp_path)), MODELS[name]
    assert (derived.height, derived.width) == (row.height, row.width)
    assert (derived.cross_attention, derived.self_attention) == (row.cross_attention, row.self_attention)


@pytest.mark.parametrize("component", ["text_encoder", "vae", "scheduler"])
def test_a_missing_component(copy, component):
    shutil.rmtree(copy / component)
    message = refused(ModelError, load_model, str(copy), "cpu")
    if component == "vae":
        assert message.startswith(f"not a diffusers folder of a UNet model; got {copy} (FileNotFoundError: ")
    else:
        assert message.startswith(f"cannot load the diffusion model; got {copy} (without {component}/); expected ")
    assert "; fix: " in message


def test_a_config_that_is_not_json_is_named(copy):
    (copy / "text_encoder" / "config.json").write_text("{")
    message = refused(ModelError, load_model, str(copy), "cpu")
    assert f"; got {copy} (text_encoder/config.json is not JSON: Expecting property name" in message


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
    assert message == "bad value of --dtype; got float8; expected 'float32', 'float16' or 'bfloat16'"


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


def test_every_published_model_is_pinned_to_a_commit():
    published = [spec for name, spec in MODELS.items() if name != "embedded"]
    assert all(len(bytes.fromhex(spec.revision)) == 20 for spec in published)


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


def test_a_negative_prompt_without_guidance():
    model = thin_model("sd21-base")
    message = refused(ConfigError, model.check, [TEDDY], plan(model, negative_prompt="ugly", guidance_scale=1.0))
    assert message == (
        "a negative prompt does nothing without classifier-free guidance; got guidance scale 1; "
        "expected a scale above 1; fix: leave out --negative-prompt"
    )
    model.check([TEDDY], plan(model, negative_prompt="ugly", guidance_scale=1.5))
    model.check([TEDDY], plan(model, negative_prompt="ugly"))  # the model's own scale
    model.check([TEDDY], plan(model, negative_prompt="", guidance_scale=1.0))


def test_the_models_own_negative_prompt_stays_silent_without_guidance():
    model = thin_model("sd21-base")
    model.spec = replace(model.spec, negative_prompt="ugly")
    model.generate([TEDDY], [1], guidance_scale=1.0, steps=1, height=64, width=64)


def test_a_negative_prompt_for_a_model_distilled_for_guidance():
    pipeline = thin_pipeline("sd15")
    pipeline.unet.register_to_config(time_cond_proj_dim=32)
    model = UNetModel(SPEC, pipeline)
    message = refused(ConfigError, model.check, [TEDDY], plan(model, negative_prompt="ugly"))
    assert message == (
        "a negative prompt does nothing without classifier-free guidance; got a model distilled for guidance; "
        "expected no negative prompt; fix: leave out --negative-prompt"
    )


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (
            ConfigError,
            {"height": 100},
            "the image size does not fit the model; got 100x128 pixels; expected height and width that are multiples "
            "of 8; fix: use 96x128",
        ),
        (ConfigError, {"steps": 1001}, "too many denoising steps; got 1001; expected at most 1000"),
        (
            ModelError,
            {"capture": CaptureSettings(cross_attention_resolution=32)},
            "the model has no cross-attention layer of that resolution and name; got 32 in any block; expected one of "
            "16 in down_blocks.0; 16 in up_blocks.3; 2 in mid_block; 4 in down_blocks.2; 4 in up_blocks.1; 8 in "
            "down_blocks.1; 8 in up_blocks.2",
        ),
        (
            ModelError,
            {"capture": CaptureSettings(self_attention_layers=("down_blocks.3",))},
            "the model has no self-attention layer of that resolution and name; got 8 in down_blocks.3; expected one ",
        ),
    ],
)
def test_what_the_model_cannot_draw(kind, options, message):
    model = thin_model("sd21-base")
    assert refused(kind, model.check, [TEDDY], plan(model, **options)).startswith(message)
    options = {"capture": CaptureSettings()} | options
    assert refused(kind, model.generate, [TEDDY], [1], **options).startswith(message)


def test_a_few_step_scheduler_has_its_own_limit():
    model = thin_model("sd21-base")
    model.pipeline.scheduler = make_scheduler("lcm", model.pipeline.scheduler.config)
    message = refused(ConfigError, model.check, [TEDDY], plan(model, steps=51))
    assert message == "too many denoising steps; got 51; expected at most 50"


def test_a_class_prompt_beyond_the_tokenizers_limit():
    words = ("teddy bear",) * 60
    long = Prompt(3, "toys; " + " ".join(words), " ".join(words), tuple([12] * 60), words)
    model = thin_model("sd21-base")
    message = refused(PromptError, model.check, [long], plan(model))
    assert message.startswith("the class prompt is longer than the tokenizer's limit; got ")


def test_another_resolution_takes_every_layer_of_it():
    embedded = MODELS["embedded"]
    capture = embedded.resolve_capture(CaptureSettings(cross_attention_resolution=8))
    assert capture.cross_attention == LayerChoice(8)
    assert capture.self_attention == embedded.self_attention


def test_what_the_settings_leave_open_is_the_models_own():
    found = asdict(MODELS["sd15"].resolve(GenerateSettings(steps=30, width=640)))
    assert found.pop("negative_prompt").startswith("ugly, tiling, ")
    assert found == {
        "scheduler": "ddim",
        "steps": 30,
        "guidance_scale": 7.5,
        "height": 512,
        "width": 640,
        "capture": {
            "cross_attention": {"resolution": 16, "prefixes": ("",)},
            "self_attention": {"resolution": 32, "prefixes": ("",)},
            "prompt": "class",
            "steps": "all",
            "every": 1,
        },
    }


def test_what_the_settings_say_goes_before_the_models_own():
    settings = GenerateSettings(scheduler="unipc", guidance_scale=3.0, negative_prompt="", height=64)
    found = MODELS["sd15"].resolve(settings)
    assert (found.scheduler, found.guidance_scale, found.negative_prompt, found.height) == ("unipc", 3.0, "", 64)
    assert not MODELS["sd15"].resolve(GenerateSettings(guidance_scale=1.0)).negative_prompt


def test_a_folder_is_another_model_when_any_weight_is_another(copy):
    before = model_fingerprint(model_spec(str(copy)))
    (copy / ".cache").mkdir()
    (copy / ".cache" / "download.json").write_text("1700000000")
    assert model_fingerprint(model_spec(str(copy))) == before
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert model_fingerprint(model_spec(str(copy))) != before
