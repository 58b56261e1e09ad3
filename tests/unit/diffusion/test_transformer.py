"""A transformer through the product: loaded from a folder, generated with, continued, read again."""

import shutil

import pytest
from tests.helpers.tiny_transformers import sd3, thin_transformer

from dataset_diffusion import DiffusionModel
from dataset_diffusion.config import CaptureSettings, GenerateSettings, LabelOptions
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.diffusion.load import load_from_settings, load_model
from dataset_diffusion.diffusion.specs import model_spec
from dataset_diffusion.diffusion.transformer import TransformerModel
from dataset_diffusion.errors import ConfigError, ModelError, PromptError
from dataset_diffusion.prompts.class_sets import resolve_classes
from dataset_diffusion.prompts.prompt_files import write_prompts
from dataset_diffusion.reading import LayerChoice
from dataset_diffusion.records import Prompt
from dataset_diffusion.stages.generate import generate_dataset

pytestmark = pytest.mark.slow

CAT_DOG = Prompt(0, "a photo of a cat and a dog; cat dog", "cat dog", (1, 2))
DOG = Prompt(1, "a dog in the snow; dog", "dog", (2,))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "sd3"
    sd3(with_t5=False, channels=12).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def model():
    return thin_transformer("sd3")


def refused(kind, call, *arguments, **options):
    with pytest.raises(kind) as error:
        call(*arguments, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_folder_is_recognised_by_its_network(folder):
    spec = model_spec(str(folder))
    assert (spec.height, spec.num_inference_steps, spec.scheduler) == (64, 28, "FlowMatchEulerDiscreteScheduler")
    assert spec.cross_attention == LayerChoice(4)
    assert spec.self_attention == LayerChoice(4, ("transformer_blocks.1",))
    model = load_model(str(folder), device="cpu")
    assert isinstance(model, TransformerModel)
    assert model.cross_attention_heads() == {f"transformer_blocks.{number}": 4 for number in range(3)}


def test_a_pipeline_of_your_own_draws_and_is_read(folder):
    loaded = load_model(str(folder), device="cpu")
    own = DiffusionModel.from_pipeline(loaded.pipeline)
    assert isinstance(own, TransformerModel)
    assert (own.spec.cross_attention, own.spec.height) == (loaded.spec.cross_attention, loaded.spec.height)
    (mine,), (theirs,) = (model.generate([DOG], [1], CaptureSettings(), steps=1) for model in (own, loaded))
    assert mine.attention.cross_attention.equal(theirs.attention.cross_attention)


def test_a_dataset_is_generated_and_continued_byte_for_byte(folder, tmp_path):
    prompts = tmp_path / "prompts.jsonl"
    write_prompts(prompts, [CAT_DOG, DOG], resolve_classes(("cat", "dog")))
    settings = GenerateSettings(
        model=str(folder), device="cpu", steps=2, batch_size=2, shard_size=1, height=64, width=96
    )
    stores = []
    for name in ("whole", "continued"):
        out = tmp_path / name
        generate_dataset(prompts, settings, out, label=LabelOptions(), seed=3)
        if name == "continued":
            (out / "shards" / "00001.parquet").unlink()
            generate_dataset(prompts, settings, out, label=LabelOptions(), seed=3)
        stores.append([file.read_bytes() for file in sorted((out / "shards").glob("*.parquet"))])
    assert stores[0] == stores[1]
    used = DatasetStore.open(tmp_path / "whole").manifest.provenance.used
    assert (used.guidance_scale, used.scheduler) == (7.0, "FlowMatchEulerDiscreteScheduler")
    assert used.reading.timesteps == (101, 201, 301)


def test_finished_images_can_be_read_instead(model):
    reading = model.spec.resolve_reading("plain", when="drawn")
    (drawn,) = model.generate([DOG], [1], reading)
    (again,) = model.attend([drawn.image], [DOG], [1], reading)
    assert drawn.attention.cross_attention.equal(again.cross_attention)


def test_what_it_cannot_do_is_one_line(model, folder):
    wide = Prompt(0, "a dog " * 300 + "; dog", "dog", (2,))
    assert "longer than the tokenizer's limit" in refused(PromptError, model.generate, [wide], [1])
    assert "multiples of 16" in refused(ConfigError, model.generate, [DOG], [1], height=72)
    layers = CaptureSettings(cross_attention_layers=("transformer_blocks.11",))
    assert "transformer_blocks.2" in refused(ModelError, model.generate, [DOG], [1], layers)
    coarse = CaptureSettings(self_attention_resolution=3)
    assert "expected 4, or what divides it" in refused(ModelError, model.generate, [DOG], [1], coarse)
    fine = CaptureSettings(cross_attention_resolution=8)
    assert "expected 4, the model's only one" in refused(ModelError, model.generate, [DOG], [1], fine)
    settings = GenerateSettings(model=str(folder), device="cpu", scheduler="ddim")
    assert "FlowMatchEulerDiscreteScheduler" in refused(ConfigError, load_from_settings, settings)


def test_a_network_of_no_known_family(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "other")
    config = copy / "transformer" / "config.json"
    config.write_text(config.read_text().replace("SD3Transformer2DModel", "MochiTransformer3DModel"))
    assert "SD3Transformer2DModel" in refused(ModelError, model_spec, str(copy))


def test_a_class_prompt_is_as_long_as_the_shortest_encoder_holds(model):
    assert model.class_limit == model.pipeline.tokenizer_max_length
    (stream,) = thin_transformer("qwen-image").family.streams("")
    assert thin_transformer("qwen-image").class_limit == 512 + 34 - len(stream)


def test_self_attention_is_pooled_to_the_resolution(model):
    (drawn,) = model.generate([DOG], [1], CaptureSettings(self_attention_resolution=2), height=80, width=112)
    assert drawn.attention.cross_attention.shape == (1, 5, 7)
    assert drawn.attention.self_shape == (3, 4)
