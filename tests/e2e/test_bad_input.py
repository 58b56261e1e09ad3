"""What the user gets wrong is told in one line, with exit status 2 and nothing written."""

import pytest
from tests.helpers.processes import succeed

from dataset_diffusion.config import TrainSettings
from dataset_diffusion.diffusion.specs import MODELS
from dataset_diffusion.recipe import RECIPES
from dataset_diffusion.segmentation.models import SEGMENTERS

BETA = MODELS["embedded"].resolve_reading().label.uncertainty_threshold
SETS = "voc, coco, cityscapes, celebamask-hq, dis5k, emoji"

PROMPTS = {
    "unknown class set": (
        ["--classes", "vok"],
        f"unknown class set; got 'vok'; expected {SETS}; "
        "fix: did you mean voc? "
        'for classes of your own separate their names by commas, such as "forklift,pallet" or "vok,"',
    ),
    "class without prompt words": (
        ["--classes", "cat,  ,dog"],
        "a class without prompt words; got ''; expected a name with a letter or a digit",
    ),
    "class of punctuation": (
        ["--classes", "cat,!!"],
        "a class without prompt words; got '!!'; expected a name with a letter or a digit",
    ),
    "empty captions": (
        ["--captions", "empty.txt"],
        "no captions in the file; got empty.txt; expected at least one caption",
    ),
    "captions without classes": (
        ["--captions", "views.txt"],
        "no caption mentions a class of 'emoji'; got 2 captions; expected words such as airplane, boat, bus, car, cat; "
        "fix: choose other captions or classes, or leave the captions out to make them from templates",
    ),
    "missing captions": (
        ["--captions", "no.txt"],
        "cannot read the file; got no.txt; expected a text file (No such file or directory)",
    ),
    "a picture for captions": (
        ["--captions", "photo.png"],
        "the file is not UTF-8 text; got photo.png, line 1; fix: save it as UTF-8",
    ),
    "no images": (
        ["--num-images", "0"],
        "bad value of --num-images; got 0; expected greater than or equal to 1",
    ),
    "a file for a folder": (
        ["--out", "file/prompts.jsonl"],
        "cannot write file/prompts.jsonl; got File exists; fix: choose another --out, then run the same command again",
    ),
    "other prompts there": (
        ["--num-images", "7", "--out", "prompts.jsonl"],
        "prompts.jsonl holds other prompts; fix: use another --out, or delete the file",
    ),
}

GENERATE = {
    "missing prompts": (
        ["--prompts", "no.jsonl"],
        "cannot read the file; got no.jsonl; expected a text file (No such file or directory)",
    ),
    "a picture for prompts": (
        ["--prompts", "photo.png"],
        "the file is not UTF-8 text; got photo.png, line 1; fix: save it as UTF-8",
    ),
    "prompts of another class set": (
        ["--classes", "voc"],
        "the prompts are for another class set; got emoji in prompts.jsonl; expected voc",
    ),
    "class prompt too long": (
        ["--prompts", "long_class_prompt.jsonl"],
        "the class prompt is longer than the tokenizer's limit; got ",
    ),
    "caption too long": (
        ["--prompts", "long_caption.jsonl"],
        "the text prompt is longer than the tokenizer's limit; got ",
    ),
    "unknown model": (
        ["--model", "sd3"],
        "unknown model; got sd3; expected one of embedded, ",
    ),
    "missing model folder": (
        ["--model", "./no/model"],
        "unknown model; got ./no/model; expected one of embedded, ",
    ),
    "model without weights": (
        ["--model", "model_without_weights"],
        "cannot load the diffusion model; got model_without_weights (Error no file named "
        "diffusion_pytorch_model.safetensors found in directory model_without_weights/unet.); expected a complete "
        "diffusers pipeline with safetensors weights; fix: save the pipeline again with save_pretrained",
    ),
    "model that the hub does not give": (
        ["--model", "nobody/nothing"],
        "the hub does not give the model, and there is no such folder; got nobody/nothing; "
        "expected a repository that exists and can be reached; "
        "fix: run `hf download nobody/nothing --local-dir FOLDER` where there is a network, and pass the folder",
    ),
    "no diffusers folder": (
        ["--model", "."],
        "not a diffusers folder of a text-to-image model; got . (",
    ),
    "thresholds out of order": (
        ["--threshold", "0.4", "--uncertainty-threshold", "0.5"],
        "bad value of --uncertainty-threshold; got 0.5; expected at most the threshold, 0.4",
    ),
    "threshold below the other's default": (
        ["--threshold", "0.1"],
        f"the threshold is below the uncertainty threshold that fits the reading; got 0.1 and {BETA}; fix: give both",
    ),
    "threshold above one": (
        ["--threshold", "1.5"],
        "bad value of --threshold; got 1.5; expected less than or equal to 1",
    ),
    "threshold below zero": (
        ["--uncertainty-threshold", "-0.5"],
        "bad value of --uncertainty-threshold; got -0.5; expected greater than or equal to 0",
    ),
    "threshold that is no number": (
        ["--threshold", "nan"],
        "bad value of --threshold; got nan; expected a finite number",
    ),
    "exponent that is not stored": (
        ["--exponent", "3"],
        "bad value of --exponent; got 3; expected one of 0, 1, 2, 4, 8",
    ),
    "several mistakes": (
        ["--exponent", "3", "--threshold", "2"],
        "bad value of --exponent (the first of 2 mistakes); got 3; expected one of 0, 1, 2, 4, 8",
    ),
    "size that does not fit": (
        ["--height", "100"],
        "the image size does not fit the model; got 100x128 pixels; expected height and width that are multiples "
        "of 8; fix: use 96x128",
    ),
    "too many steps": (
        ["--steps", "1001"],
        "too many denoising steps; got 1001; expected at most 1000",
    ),
    "attention that the model lacks": (
        ["--capture.self-attention-resolution", "32"],
        "the model has no self-attention layer of that resolution and name; got 32 in any block; expected one of ",
    ),
    "attention of no size": (
        ["--capture.cross-attention-resolution", "0"],
        "bad value of --capture.cross-attention-resolution; got 0; expected greater than or equal to 1",
    ),
    "negative prompt without guidance": (
        ["--negative-prompt", "ugly", "--guidance-scale", "1"],
        "a negative prompt does nothing without classifier-free guidance; got guidance scale 1; expected ",
    ),
    "offloading without a GPU": (
        ["--cpu-offload", "--device", "cpu"],
        "nothing to offload from; got device cpu; expected a GPU with --cpu-offload",
    ),
    "unknown device": (
        ["--device", "gpu"],
        "no such device here; got 'gpu'; expected one of cpu",
    ),
    "unknown type": (
        ["--dtype", "int8"],
        "bad value of --dtype; got int8; expected one of None, bfloat16, float16, float32",
    ),
    "a file for a folder": (
        ["--out", "file"],
        "cannot write file; got File exists; fix: choose another --out, then run the same command again",
    ),
    "a file on the way": (
        ["--out", "file/dataset"],
        "cannot write file/dataset; got Not a directory; ",
    ),
    "another configuration there": (
        [
            "--out",
            "dataset",
            "--steps",
            "2",
            "--batch-size",
            "3",
            "--shard-size",
            "3",
            "--device",
            "cpu",
            "--seed",
            "1",
            "--vae-tiling",
        ],
        "dataset holds a dataset of another configuration; got config.seed: 1 (here: 0), "
        "config.generate.vae_tiling: True (here: False); fix: use another --out or delete dataset",
    ),
}

TRAIN = {
    "no dataset": (
        [],
        "nothing to train on; expected a dataset, or --real with a benchmark",
    ),
    "missing dataset": (
        ["no"],
        "not a dataset; got no; expected a folder with dataset.json",
    ),
    "a file for a dataset": (
        ["photo.png"],
        "not a dataset; got photo.png; expected a folder with dataset.json",
    ),
    "unknown segmenter": (
        ["dataset", "--segmenter", "segnet"],
        f"no such segmenter; got 'segnet'; expected one of {', '.join(SEGMENTERS)}, or your own as module:function",
    ),
    "learning rate of zero": (
        ["dataset", "--learning-rate", "0"],
        "bad value of --learning-rate; got 0.0; expected greater than 0",
    ),
    "a file for a folder": (
        ["dataset", "--out", "file"],
        "cannot write file; got File exists; fix: choose another --out, then run the same command again",
    ),
    "another configuration there": (
        ["dataset", "--out", "model", "--iterations", "7", "--batch-size", "2"],
        "model holds a segmenter that was trained otherwise; got iterations: 7 (here: 6); "
        "fix: choose another --out, or what it was trained with",
    ),
}

EVALUATE = {
    "nothing to score": (
        [],
        "nothing to score, or two things; expected either a model folder or --predictions",
    ),
    "two things to score": (
        ["model", "--predictions", "."],
        "nothing to score, or two things; expected either a model folder or --predictions",
    ),
    "missing model": (
        ["no"],
        "not a trained segmenter; got no without a model.json; fix: dataset-diffusion train",
    ),
    "a dataset for a model": (
        ["dataset"],
        "not a trained segmenter; got dataset without a model.json; fix: dataset-diffusion train",
    ),
    "unknown benchmark": (
        ["model", "--benchmark", "voc2007"],
        "no such benchmark; got 'voc2007'; expected one of scenes, voc2012, ",
    ),
    "benchmark without its folder": (
        ["model", "--benchmark", "voc2012"],
        "the benchmark voc2012 needs its folder; fix: --root VOCdevkit/VOC2012",
    ),
    "benchmark of other classes": (
        ["model", "--benchmark", "voc2012", "--root", "voc"],
        "the segmenter and the benchmark voc2012 have different classes; got airplane, ",
    ),
    "missing predictions": (
        ["--predictions", "no", "--benchmark", "voc2012", "--root", "voc"],
        "a file is missing; got no/0001.png (1 of 1 missing)",
    ),
    "predictions that are no images": (
        ["--predictions", "predictions", "--benchmark", "voc2012", "--root", "voc"],
        "cannot use predictions/0001.png; got ",
    ),
    "truth that is no image": (
        ["--predictions", "predictions", "--benchmark", "voc2012", "--root", "damaged_voc"],
        "cannot use ",
    ),
    "a file for a folder": (
        ["--predictions", "voc/SegmentationClass", "--benchmark", "voc2012", "--root", "voc", "--out", "file/r.json"],
        "cannot write file/r.json; got File exists; ",
    ),
}

RUN = {
    "missing recipe": (
        "no.toml",
        None,
        "cannot read the recipe; got no.toml; expected a TOML file (No such file or directory), "
        "or one of celebamask-hq, cityscapes, coco, demo, dis5k, voc",
    ),
    "not TOML": (
        "r.toml",
        "classes: [cat, dog]",
        "the recipe is not TOML; got r.toml: Expected '=' after a key in a key/value pair (at line 1, column 8); "
        f"fix: see {RECIPES} for examples",
    ),
    "unknown table": (
        "r.toml",
        "[generator]\nsteps = 2",
        "r.toml: unknown setting; got generator; expected one of seed, prompts, generate, label, calibrate, ",
    ),
    "unknown setting": (
        "r.toml",
        "[train]\nlr = 0.1",
        f"r.toml: unknown setting; got train.lr; expected one of {', '.join(TrainSettings.model_fields)}",
    ),
    "value out of range": (
        "r.toml",
        "[generate]\nsteps = 0",
        "r.toml: bad value of `generate.steps`; got 0; expected greater than or equal to 1",
    ),
    "value of another type": (
        "r.toml",
        '[generate]\nguidance_scale = "high"',
        "r.toml: bad value of `generate.guidance_scale`; got high; expected a valid number",
    ),
    "threshold below the other's default": (
        "r.toml",
        "[label]\nthreshold = 0.1",
        f"the threshold is below the uncertainty threshold that fits the reading; got 0.1 and {BETA}; fix: give both",
    ),
    "unknown class": (
        "r.toml",
        '[prompts]\nclasses = "vok"',
        f"unknown class set; got 'vok'; expected {SETS}; ",
    ),
    "missing captions": (
        "r.toml",
        '[prompts]\ncaptions = "no.txt"',
        "cannot read the file; got ",
    ),
    "unknown segmenter": (
        "r.toml",
        '[train]\nsegmenter = "segnet"',
        "no such segmenter; got 'segnet'; expected one of ",
    ),
    "unknown benchmark": (
        "r.toml",
        '[evaluate]\nbenchmark = "voc2007"',
        "no such benchmark; got 'voc2007'; expected one of ",
    ),
    "benchmark of other classes": (
        "r.toml",
        '[prompts]\nclasses = ["cat", "dog"]',
        "the segmenter and the benchmark scenes have different classes; got cat, dog; expected airplane, ",
    ),
    "size that does not fit": (
        "r.toml",
        "[generate]\nwidth = 100",
        "the image size does not fit the model; got 128x100 pixels; ",
    ),
}


@pytest.mark.parametrize("case", PROMPTS)
def test_prompts(refused, case):
    options, message = PROMPTS[case]
    assert refused("prompts", "--num-images", 6, "--out", "new.jsonl", *options) == message


@pytest.mark.parametrize("case", GENERATE)
def test_generate(refused, case):
    options, message = GENERATE[case]
    assert refused("generate", "--prompts", "prompts.jsonl", "--out", "new", *options).startswith(message)


@pytest.mark.parametrize("case", TRAIN)
def test_train(refused, case):
    options, message = TRAIN[case]
    assert refused("train", "--out", "new", *options) == message


@pytest.mark.parametrize("case", EVALUATE)
def test_evaluate(refused, case):
    options, message = EVALUATE[case]
    assert refused("evaluate", "--out", "new.json", *options).startswith(message)


@pytest.mark.parametrize("case", RUN)
def test_run(refused, place, case):
    file, recipe, message = RUN[case]
    if recipe is not None:
        (place / file).write_text(recipe)
    assert refused("run", file, "--out", "new").startswith(message)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("run", "ok.toml", "--out", "file"), "cannot write file; got File exists; fix: choose "),
        (("demo", "--out", "file/run"), "cannot write file/run; got Not a directory; fix: choose "),
        (("report", "no"), "nothing to report on; got no; expected the folder of a run or of a dataset; fix: "),
        (("verify", "model"), "not a dataset; got model; expected a folder with dataset.json"),
    ],
)
def test_folders_that_cannot_be_used(refused, place, words, message):
    (place / "ok.toml").write_text("")
    assert refused(*words).startswith(message)


def test_what_was_refused_can_be_put_right_in_the_same_folder(refused, place, tmp_path):
    out = tmp_path / "dataset"
    refused("generate", "--prompts", "prompts.jsonl", "--out", out, "--height", 60)
    succeed("generate", "--prompts", "prompts.jsonl", "--out", out, "--height", 64, "--width", 64, "--steps", 1)
