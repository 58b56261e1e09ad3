"""Whatever is passed from Python by mistake ends in one line of the package's own, with what was probably meant."""

import jaxtyping
import numpy as np
import pytest
import torch
from PIL import Image

from dataset_diffusion import (
    CaptureSettings,
    DatasetStore,
    DiffusionModel,
    Prompt,
    Reading,
    assign_labels,
    build_prompts,
    class_set,
    evaluate_labels,
    label,
    load_model,
    load_segmenter,
    normalize,
    propagate,
    token_indices,
)
from dataset_diffusion.config import LabelSettings
from dataset_diffusion.errors import ConfigError, DatasetError, ModelError, PromptError

pytestmark = pytest.mark.slow

MAPS, SELF, IDS = torch.rand(1, 4, 4), torch.full((16, 16), 1 / 16), np.zeros((4, 4), np.uint8)
PICTURE, PHOTO = np.zeros((128, 128, 3), np.uint8), Image.new("RGB", (128, 128))
PROMPTS = [Prompt(0, "a cat; cat", "cat", (1,)), Prompt(1, "a bus; bus", "bus", (2,))]

CALLS = {
    "no class set": (lambda: class_set(None), ConfigError, "got None; expected|fix: write"),
    "class set": (lambda: class_set("coc"), ConfigError, "unknown class set; got 'coc'.*did you mean coco"),
    "numbers for names": (lambda: class_set([1, 2]), ConfigError, "class names must be a list of strings"),
    "names without order": (lambda: class_set({"cat", "bus"}), ConfigError, "class names must be a list of strings"),
    "one caption": (lambda: build_prompts("a cat", "emoji", 2), PromptError, r'got \'a cat\'; fix: write \["a cat'),
    "captions": (lambda: build_prompts([3], "emoji", 2), PromptError, "bad caption 1; got int 3; expected str"),
    "classes": (lambda: build_prompts(None, None, 2), ConfigError, "class names must be a list of strings; got None"),
    "number": (
        lambda: build_prompts(None, "emoji", 2.5),
        ConfigError,
        "bad number of images; got 2.5; expected a whole",
    ),
    "classes of a prompt": (
        lambda: Prompt(0, "a cat", "cat", 1),
        PromptError,
        r"ids; got 1; expected such as \(1, 2\)",
    ),
    "no model": (lambda: load_model(None), ConfigError, r'bad model; got None; .*fix: load_model\("embedded"\)'),
    "model": (lambda: load_model("sd21"), ModelError, "unknown model; got sd21; .*fix: did you mean sd21-base"),
    "dtype": (
        lambda: load_model("embedded", dtype=torch.float16),
        ConfigError,
        "`dtype`; got torch.float16; expected 'fl",
    ),
    "device": (
        lambda: load_model("embedded", device="gpu"),
        ConfigError,
        "no such device here; got 'gpu'; expected one",
    ),
    "no pipeline": (lambda: DiffusionModel.from_pipeline("sd15"), ModelError, "not a diffusers pipeline; got 'sd15'"),
    "label by name": (
        lambda: label("embedded", "a cat", ["cat"]),
        ModelError,
        r'got \'embedded\'; fix: load_model\("emb',
    ),
    "setting": (lambda: CaptureSettings(evry=2), ConfigError, "CaptureSettings: unknown setting; got evry.*mean every"),
    "setting's value": (lambda: CaptureSettings(every=0), ConfigError, "bad value of `every`; got 0; expected greater"),
    "maps": (
        lambda: normalize(None),
        ConfigError,
        "the heatmaps are no maps; got NoneType; expected a tensor or array",
    ),
    "axes": (lambda: propagate(MAPS[0], SELF, (4, 4)), ConfigError, r'got \(4, 4\); expected "classes h w"'),
    "grid": (lambda: propagate(MAPS, SELF, 4), ConfigError, r"bad self_shape; got 4; expected \(height, width\)"),
    "exponent": (lambda: propagate(MAPS, SELF, (4, 4), 1.5), ConfigError, "bad exponent; got 1.5; expected a whole"),
    "heatmaps": (lambda: assign_labels(MAPS[0], [1], (4, 4)), ConfigError, "bad shape of the heatmaps"),
    "class id": (lambda: assign_labels(MAPS, 1, (4, 4)), ConfigError, "one class id is needed per heatmap; got 1;"),
    "class name": (
        lambda: assign_labels(MAPS, ["cat"], (4, 4)),
        ConfigError,
        "bad class id; got 'cat'; expected a whole",
    ),
    "size": (lambda: assign_labels(MAPS, [1], (4.5, 4)), ConfigError, "bad label size; got 4.5; expected a whole"),
    "threshold": (
        lambda: assign_labels(MAPS, [1], (4, 4), "x"),
        ConfigError,
        "bad threshold; got str 'x'; expected a num",
    ),
    "label map of floats": (
        lambda: evaluate_labels([(IDS * 1.0, IDS)], 3),
        DatasetError,
        "not a label map; got float64",
    ),
    "label map in colour": (
        lambda: evaluate_labels([(PICTURE, PICTURE)], 3),
        DatasetError,
        "uint8 of shape .128, 128, 3",
    ),
    "label maps' sizes": (lambda: evaluate_labels([(IDS, IDS[1:])], 3), DatasetError, "differ in size; got 4 x 4; exp"),
    "label maps alone": (lambda: evaluate_labels([IDS], 3), DatasetError, r"fix: zip\(predictions, truths\)"),
    "number of classes": (
        lambda: evaluate_labels([(IDS, IDS)], 300),
        ConfigError,
        "got 300; expected 1..256, the backg",
    ),
    "no segmenter": (
        lambda: load_segmenter(None),
        ModelError,
        "bad folder of a segmenter; got None; expected str or Pa",
    ),
    "no dataset": (
        lambda: DatasetStore.open(None),
        DatasetError,
        "bad place of a dataset; got None; expected str or Pa",
    ),
    "no reading": (lambda: Reading.load(None), ConfigError, "bad file of a reading; got None; expected str or Path"),
    "no tokenizer": (lambda: token_indices(None, "cat", ["cat"]), PromptError, "got NoneType; fix: load it as a fast"),
    "one word": (lambda: token_indices(None, "cat", "cat"), PromptError, r'got \'cat\'; fix: write \["cat", "bus"\]'),
}

ASKED = {
    "a caption": (
        lambda m: m.generate(["a cat"]),
        PromptError,
        r"got str 'a cat'; expected a list of Prompt; fix: build_",
    ),
    "one prompt": (lambda m: m.generate(PROMPTS[0]), PromptError, r"got a single one; fix: put it into \[ \]"),
    "too few seeds": (
        lambda m: m.generate(PROMPTS, [1]),
        ConfigError,
        "one seed is needed per prompt; got 1 seeds; .* 2",
    ),
    "one seed": (
        lambda m: m.generate(PROMPTS, 1),
        ConfigError,
        "one seed is needed per prompt; got 1; expected a list",
    ),
    "seeds": (lambda m: m.generate(PROMPTS, ["a", "b"]), ConfigError, "bad seed; got 'a'; expected a whole number"),
    "reading": (
        lambda m: m.generate(PROMPTS, [1, 2], "plain"),
        ConfigError,
        r"fix: model.spec.resolve_reading\('plain'\)",
    ),
    "settings": (
        lambda m: m.generate(PROMPTS, [1, 2], LabelSettings()),
        ConfigError,
        "bad choice of attention; got Label",
    ),
    "steps": (
        lambda m: m.generate(PROMPTS, [1, 2], steps=2.5),
        ConfigError,
        "`steps`; got 2.5; expected a valid integer",
    ),
    "guidance": (
        lambda m: m.generate(PROMPTS, guidance_scale="x"),
        ConfigError,
        "bad guidance scale; got str 'x'; expect",
    ),
    "height": (lambda m: m.generate(PROMPTS, height=-64), ConfigError, "`height`; got -64; expected greater than"),
    "a photo": (
        lambda m: m.attend([PHOTO], PROMPTS[:1], [1]),
        ConfigError,
        r"got Image; .* fix: np.asarray\(image.conv",
    ),
    "floats": (lambda m: m.attend([PICTURE / 255], PROMPTS[:1], [1]), ConfigError, r"fix: \(image \* 255\).round"),
    "grey": (
        lambda m: label(m, PICTURE[..., 0], ["cat"]),
        ConfigError,
        r"not a picture; got uint8 of shape \(128, 128\)",
    ),
    "labelled photo": (lambda m: label(m, PHOTO, ["cat"]), ConfigError, r"not a picture; got Image; expected a uint8"),
    "too few pictures": (
        lambda m: m.attend([PICTURE], PROMPTS, [1, 2]),
        ConfigError,
        "one picture is needed per prompt",
    ),
    "options": (
        lambda m: label(m, "a cat", ["cat"], settings={"threshold": 0.3}),
        ConfigError,
        "got dict .*: LabelOpt",
    ),
    "reading's name": (
        lambda m: label(m, "a cat", ["cat"], reading="publishd"),
        ConfigError,
        "did you mean published?",
    ),
    "picture": (lambda m: label(m, 5, ["cat"]), ConfigError, "not a picture; got int; expected a uint8 array"),
}


@pytest.fixture(autouse=True)
def _as_users_have_it():
    """Without the checks of types that tests add."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.parametrize(("call", "kind", "message"), CALLS.values(), ids=CALLS)
def test_a_wrong_argument(call, kind, message):
    with pytest.raises(kind, match=message) as error:
        call()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("ask", "kind", "message"), ASKED.values(), ids=ASKED)
def test_a_model_asked_wrongly(embedded, ask, kind, message):
    with pytest.raises(kind, match=message) as error:
        ask(embedded)
    assert "\n" not in str(error.value)


def test_without_seeds_a_model_draws_what_a_dataset_of_seed_0_has(embedded):
    from dataset_diffusion.seeding import sample_seed

    (drawn,) = embedded.generate(PROMPTS[1:], steps=1)
    (again,) = embedded.generate(PROMPTS[1:], [sample_seed(0, 1)], steps=1)
    assert np.array_equal(drawn.image, again.image)
    assert embedded.generate([]) == []


def test_records_show_themselves_in_a_line(embedded, job):
    assert repr(embedded) == "<UNetModel embedded: 128 x 128 pixels, torch.float32 on cpu>"
    (drawn,) = embedded.generate(PROMPTS[:1], steps=1)
    assert repr(drawn) == "Generation(image=uint8[128, 128, 3], attention=None)"
    store = DatasetStore.open(job.dataset)
    assert repr(store) == f"<DatasetStore {job.dataset}: 6 samples of airplane, boat, bus, car, cat, …>"
    assert "image=uint8[128, 128, 3], label=uint8[128, 128], heatmaps=Heatmaps(exponents=(0, 1, 2, 4, 8)" in repr(
        store[0]
    )
    assert repr(evaluate_labels([(IDS, IDS)], 2)).endswith(
        "confusion_matrix=int64[2, 2], absent_classes=(1), extra={})"
    )
    assert repr(load_segmenter(job.model)).startswith("<TrainedSegmenter ")
    assert repr(label(embedded, PICTURE, ["cat"])) == "Labelled(image=uint8[128, 128, 3], label=uint8[128, 128])"
