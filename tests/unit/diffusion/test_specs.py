import json
from dataclasses import asdict

import pytest
from tests.helpers.architectures import ARCHITECTURES

from dataset_diffusion.config import CaptureSettings, GenerateSettings
from dataset_diffusion.diffusion.specs import MODELS, model_fingerprint, model_spec, unchanged_spec
from dataset_diffusion.diffusion.transformer_specs import TRANSFORMERS
from dataset_diffusion.errors import ConfigError, ModelError
from dataset_diffusion.reading import LayerChoice

pytestmark = pytest.mark.slow


def refused(kind, call, *arguments, **options):
    with pytest.raises(kind) as error:
        call(*arguments, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


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


@pytest.mark.parametrize(
    "change",
    [*({"sample_size": size} for size in (None, [], [None], 64.5, 0, -3, 10**9)), {"down_block_types": None}],
)
def test_a_config_that_says_too_little(copy, change):
    file = copy / "unet" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    assert refused(ModelError, model_spec, str(copy)).startswith(
        "not a diffusers folder of a text-to-image model; got "
    )


@pytest.mark.parametrize("name", ["sd15", "sd21-base", "sdxl-base"])
def test_a_copy_of_a_named_model_has_the_attention_of_its_row(name, tmp_path):
    full = ARCHITECTURES[name]
    for component, config in (("unet", full.unet), ("vae", full.vae)):
        (tmp_path / component).mkdir()
        (tmp_path / component / "config.json").write_text(json.dumps(config))
    derived, row = model_spec(str(tmp_path)), MODELS[name]
    assert (derived.height, derived.width) == (row.height, row.width)
    assert (derived.cross_attention, derived.self_attention) == (row.cross_attention, row.self_attention)


def test_every_published_unet_is_pinned_to_a_commit():
    published = [spec for name, spec in MODELS.items() if name not in ("embedded", *TRANSFORMERS)]
    assert all(len(bytes.fromhex(spec.revision)) == 20 for spec in published)


def test_another_resolution_takes_every_layer_of_it():
    embedded = MODELS["embedded"]
    capture = embedded.resolve_reading(capture=CaptureSettings(cross_attention_resolution=8))
    assert capture.cross_attention == LayerChoice(8)
    assert capture.self_attention == embedded.self_attention


def test_what_the_settings_leave_open_is_the_models_own():
    found = asdict(MODELS["sd15"].resolve(GenerateSettings(steps=30, width=640)))
    assert found.pop("negative_prompt").startswith("ugly, tiling, ")
    assert found.pop("reading") == MODELS["sd15"].resolve_reading("plain")
    assert found == {
        "scheduler": "ddim",
        "steps": 30,
        "guidance_scale": 7.5,
        "height": 512,
        "width": 640,
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


def test_a_reading_is_the_models_own_or_what_is_asked_for():
    spec = MODELS["sd15"]
    plain = spec.resolve_reading()
    assert (plain.name, plain.cross_attention, plain.when) == ("plain", LayerChoice(16), "drawing")
    assert spec.resolve_reading("published", when="drawn").when == "drawn"
    narrow = CaptureSettings(cross_attention_layers=("up_blocks",), every=2)
    asked = spec.resolve_reading(capture=narrow)
    assert (asked.name, asked.cross_attention, asked.every) == ("plain", LayerChoice(16, ("up_blocks",)), 2)


def test_the_published_reading_averages_every_layer_of_the_models_resolution():
    embedded = MODELS["embedded"]
    assert embedded.resolve_reading("plain").cross_attention.prefixes == ("up_blocks.1",)
    assert embedded.resolve_reading("published").cross_attention == LayerChoice(16)


def test_a_reading_that_leaves_no_choice_of_layers_is_not_given_one():
    with pytest.raises(
        ConfigError, match=r"^a reading says itself which attention it reads; got the reading published"
    ):
        MODELS["sd15"].resolve_reading("published", CaptureSettings(every=2))


def test_an_unknown_reading_is_refused(tmp_path):
    with pytest.raises(ConfigError) as error:
        MODELS["sd15"].resolve_reading("shiny")
    assert str(error.value) == "no such reading; got shiny; expected plain, published, or a file"


def test_a_reading_of_another_model_is_refused(tmp_path):
    spec, file = MODELS["embedded"], tmp_path / "mine.json"
    reading = spec.resolve_reading("plain").model_copy(update={"model": model_fingerprint(spec), "name": "mine"})
    reading.save(file)
    assert spec.resolve_reading(str(file)) == reading
    with pytest.raises(ConfigError, match=r"^the reading was learned for another model; got .*mine\.json, for a model"):
        MODELS["sd15"].resolve_reading(str(file))


def test_a_model_whose_weights_have_changed_is_not_the_one_that_made_a_dataset():
    model = MODELS["embedded"]
    assert unchanged_spec("embedded", None, model_fingerprint(model)) == model
    assert unchanged_spec("embedded", None, None) == model
    assert refused(ModelError, unchanged_spec, "embedded", None, "0123abcd") == (
        f"not the model that made the dataset; got {model_fingerprint(model)}; expected 0123abcd"
    )
