import json
import os
import signal

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.helpers.own_segmenter import Own, Wrapped, smaller

from dataset_diffusion.config import TrainSettings
from dataset_diffusion.errors import ConfigError, DatasetError, ModelError
from dataset_diffusion.prompts.class_sets import ClassSet
from dataset_diffusion.run_folder import CHECKPOINT, DESCRIPTION, TRAINING_LOG, WEIGHTS
from dataset_diffusion.segmentation.model_folder import load_segmenter
from dataset_diffusion.segmentation.predict import predict
from dataset_diffusion.segmentation.task import TrainingListener, TrainingTask
from dataset_diffusion.segmentation.train import train_segmenter

pytestmark = pytest.mark.slow

CLASSES = ClassSet.from_names(["square"])


@pytest.fixture
def settings(tiny):
    return TrainSettings(segmenter=tiny, iterations=12, batch_size=4, learning_rate=0.01, ema_decay=0.9)


@pytest.fixture
def train(scenes, settings, tmp_path):
    """Train on the scenes on the CPU; everything can be said otherwise."""

    def run(out="model", on_step=None, **changes):
        arguments = {"data": scenes, "class_set": CLASSES, "settings": settings, "seed": 5, "device": "cpu"}
        listener = TrainingListener()
        listener.on_step = on_step or listener.on_step
        return train_segmenter(TrainingTask(**(arguments | changes)), tmp_path / out, listener)

    return run


def interrupt_at(stop):
    def on_step(step, total, loss):
        if step == stop:
            raise KeyboardInterrupt

    return on_step


def never(step, total, loss):
    pytest.fail("trained again")


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_resumed_run_equals_an_uninterrupted_one(train, tmp_path):
    whole = contents(train("whole", checkpoint_every=6))
    with pytest.raises(KeyboardInterrupt):
        train("stopped", checkpoint_every=6, on_step=interrupt_at(8))
    # What a kill in the middle of a write leaves behind.
    (tmp_path / "stopped" / f".{CHECKPOINT}.whole.tmp").write_bytes(b"half")
    (tmp_path / "stopped" / f".{WEIGHTS}.0123abcd.tmp").write_bytes(b"half")
    steps = []
    stopped = contents(train("stopped", checkpoint_every=6, on_step=lambda step, *_: steps.append(step)))
    assert steps == list(range(7, 13))
    assert set(stopped) == {WEIGHTS, DESCRIPTION, TRAINING_LOG}
    assert stopped == whole


def test_a_finished_model_is_rid_of_what_a_kill_right_after_left(train, tmp_path):
    whole = contents(train("model"))
    (tmp_path / "model" / CHECKPOINT).write_bytes(b"no longer needed")
    (tmp_path / "model" / f".{WEIGHTS}.0123abcd.tmp").write_bytes(b"half")
    assert contents(train("model", on_step=never)) == whole


def test_stopped_before_the_first_checkpoint_it_starts_afresh(train):
    whole = contents(train("whole"))
    with pytest.raises(KeyboardInterrupt):
        train("stopped", on_step=interrupt_at(3))
    assert contents(train("stopped")) == whole


def test_stopped_while_the_result_is_written(train, tmp_path):
    whole = contents(train("whole", checkpoint_every=6))
    in_the_way = tmp_path / "stopped" / WEIGHTS
    (in_the_way / "folder").mkdir(parents=True)
    with pytest.raises(DatasetError, match=r"cannot write .*model\.safetensors.*run the same command again"):
        train("stopped", checkpoint_every=6)
    (in_the_way / "folder").rmdir()
    in_the_way.rmdir()
    assert contents(train("stopped", checkpoint_every=6, on_step=never)) == whole


@pytest.mark.parametrize("times", [1, 2])
def test_the_real_segmenter_resumes_too(train, scenes, tmp_path, times):
    # 16 pixels train in float32 everywhere, 32 in bfloat16 where the processor has it.
    scenes = [tuple(torch.tile(tensor, (times, times)) for tensor in pair) for pair in scenes]
    settings = TrainSettings(iterations=4, batch_size=2, augmentation="published")
    changes = {"data": scenes, "settings": settings, "checkpoint_every": 2}
    train("whole", **changes)
    with pytest.raises(KeyboardInterrupt):
        train("stopped", on_step=interrupt_at(3), **changes)
    train("stopped", **changes)
    assert contents(tmp_path / "stopped") == contents(tmp_path / "whole")


def test_a_terminated_run_resumes_and_is_not_taken_for_a_finished_one(train):
    def terminate(step, total, loss):
        if step == 8:
            os.kill(os.getpid(), signal.SIGTERM)

    whole = contents(train("whole"))
    with pytest.raises(KeyboardInterrupt):
        train("stopped", checkpoint_every=6, on_step=terminate)
    assert contents(train("stopped", checkpoint_every=6)) == whole


def test_a_finished_model_is_left_alone(train):
    out = train()
    before = contents(out)
    assert train(on_step=never) == out
    assert contents(out) == before


@pytest.mark.parametrize("stop", [None, 8])
@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"seed": 6}, r"got seed: 6 \(here: 5\)"),
        ({"data_id": "relabelled"}, r"got data_id: relabelled \(here: \)"),
        ({"class_set": ClassSet.from_names(["disc"])}, r"got classes: disc \(here: square\), class_set\.words: .*"),
    ],
)
def test_a_folder_of_another_model_is_refused(train, stop, change, what):
    if stop is None:
        train()
    else:
        with pytest.raises(KeyboardInterrupt):
            train(checkpoint_every=6, on_step=interrupt_at(stop))
    with pytest.raises(ConfigError, match=f"trained otherwise; {what}; fix: choose another --out") as error:
        train(**change)
    assert "\n" not in str(error.value)


def test_a_folder_of_other_settings_is_refused(train, settings):
    train()
    with pytest.raises(ConfigError, match=r"got learning_rate: 0\.02 \(here: 0\.01\); fix"):
        train(settings=settings.model_copy(update={"learning_rate": 0.02}))


def test_the_log_has_every_step_and_the_polynomial_decay(train, settings):
    entries = [json.loads(line) for line in (train() / TRAINING_LOG).read_text().splitlines()]
    assert [entry["step"] for entry in entries] == list(range(1, 13))
    expected = [settings.learning_rate * (1 - step / 12) ** 0.9 for step in range(12)]
    assert [entry["learning_rate"] for entry in entries] == pytest.approx(expected)
    assert all(np.isfinite(entry["loss"]) for entry in entries)


def test_progress(train):
    seen = []
    log = (train(on_step=lambda *step: seen.append(step)) / TRAINING_LOG).read_text().splitlines()
    assert [(step, total) for step, total, _ in seen] == [(step, 12) for step in range(1, 13)]
    assert [loss for *_, loss in seen] == [json.loads(line)["loss"] for line in log]


def test_what_is_saved_is_the_running_average(train, settings):
    def weights(iterations, decay):
        changed = settings.model_copy(update={"iterations": iterations, "ema_decay": decay})
        return load_file(train(f"{iterations}-{decay}", settings=changed) / WEIGHTS)

    # The average begins with the weights after the first step, and the first step is the same in both runs.
    first, second, average = weights(1, 0.0), weights(2, 0.0), weights(2, 0.75)
    assert not torch.equal(first["network.0.weight"], second["network.0.weight"])
    for name in (name for name, weight in first.items() if weight.is_floating_point()):
        torch.testing.assert_close(average[name], 0.75 * first[name] + 0.25 * second[name])


def test_it_learns(train, scenes, settings):
    longer = settings.model_copy(update={"iterations": 80, "learning_rate": 0.03})
    model = load_segmenter(train(settings=longer), device="cpu").model
    predicted = np.stack(list(predict(model, [image.permute(1, 2, 0).numpy() for image, _ in scenes])))
    truth = np.stack([label.numpy() for _, label in scenes])
    assert (predicted == truth)[truth != 255].mean() > 0.95


def test_the_model_says_what_it_is(train, settings):
    description = json.loads((train(data_id="abc") / DESCRIPTION).read_text())
    assert description["segmenter"] == "tiny"
    assert description["class_set"]["names"] == ["square"]
    assert TrainSettings.model_validate(description["settings"]) == settings
    assert (description["seed"], description["num_images"], description["data_id"]) == (5, 10, "abc")
    assert description["package_version"]


def test_it_is_a_quiet_guest(train, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    handlers = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    state = torch.get_rng_state()
    train()
    with pytest.raises(KeyboardInterrupt):
        train("stopped", on_step=interrupt_at(2))
    assert capfd.readouterr() == ("", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "stopped"]
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert torch.equal(torch.get_rng_state(), state)


def test_errors_of_the_listener_are_the_callers(train):
    def fail(step, total, loss):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train(on_step=fail)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"data": []}, DatasetError, "nothing to train on; got a dataset of 0 images"),
        ({"device": "abacus"}, ConfigError, "no such device here; got 'abacus'"),
        ({"settings": TrainSettings(batch_size=1)}, ConfigError, "got batch_size 1; expected 2 or more"),
        ({"settings": TrainSettings(segmenter="unet")}, ModelError, "no such segmenter; got 'unet'"),
        ({"class_set": ClassSet.from_names(["a"]), "data": "ids"}, DatasetError, r"expected 0\.\.1, or 255"),
    ],
)
def test_mistakes_are_told_in_one_line(train, scenes, change, error, message):
    if change.get("data") == "ids":
        change = change | {"data": [(image, label * 2) for image, label in scenes]}
    with pytest.raises(error, match=message) as caught:
        train(**change)
    assert "\n" not in str(caught.value)


def test_divergence_is_told(train, settings):
    with pytest.raises(ModelError, match=r"training diverged; got loss .* at step \d+; fix: lower --learning-rate"):
        train(settings=settings.model_copy(update={"learning_rate": 1e30}))


def test_too_large_a_batch_is_told_and_its_parts_fit(train, settings, hungry):
    settings = settings.model_copy(update={"segmenter": hungry, "iterations": 1})
    with pytest.raises(ModelError) as error:
        train(settings=settings)
    told = str(error.value)
    assert told.startswith("the device has too little memory to train on 4 images at once; got ")
    assert told.endswith("; fix: --accumulate 2 for steps in more parts, a smaller --batch-size or --crop-size")
    assert "\n" not in told
    train("in parts", settings=settings.model_copy(update={"accumulate": 2}))


def test_a_file_where_the_folder_should_be(train, tmp_path):
    (tmp_path / "model").write_text("")
    with pytest.raises(DatasetError, match=r"cannot write .*model; got .*choose another --out"):
        train()


def test_a_damaged_checkpoint(train, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(checkpoint_every=6, on_step=interrupt_at(8))
    os.truncate(tmp_path / "model" / CHECKPOINT, 100)
    with pytest.raises(ModelError, match=rf"cannot resume from .*{CHECKPOINT}.*delete it to start afresh") as error:
        train()
    assert "\n" not in str(error.value)


def test_a_step_in_parts_logs_one_loss_and_resumes(train, settings):
    settings = settings.model_copy(update={"accumulate": 2})
    whole = contents(train("whole", settings=settings, checkpoint_every=6))
    assert len(whole[TRAINING_LOG].splitlines()) == 12
    with pytest.raises(KeyboardInterrupt):
        train("stopped", settings=settings, checkpoint_every=6, on_step=interrupt_at(8))
    assert contents(train("stopped", settings=settings, checkpoint_every=6)) == whole


def test_the_loss_of_a_step_is_the_mean_of_its_parts(train, settings):
    # Without a second step the weights are the same, and every image has as many labelled pixels.
    one = settings.model_copy(update={"iterations": 1})
    first = json.loads((train("one", settings=one) / TRAINING_LOG).read_text())
    parts = train("two", settings=one.model_copy(update={"accumulate": 2}))
    assert json.loads((parts / TRAINING_LOG).read_text())["loss"] == pytest.approx(first["loss"], rel=0.2)


def test_the_encoder_has_a_learning_rate_of_its_own(train, settings):
    def weights(**changes):
        changed = settings.model_copy(update={"iterations": 1, "ema_decay": 0.0, **changes})
        return load_file(train(str(changes), settings=changed) / WEIGHTS)

    same, frozen = weights(), weights(encoder_learning_rate_factor=1e-9)
    start = weights(learning_rate=1e-12)
    assert torch.allclose(frozen["network.0.weight"], start["network.0.weight"], atol=1e-7)
    assert not torch.allclose(same["network.0.weight"], start["network.0.weight"], atol=1e-4)
    assert torch.equal(frozen["network.4.weight"], same["network.4.weight"])


def test_real_images_are_mixed_in(train, scenes, settings):
    real = [(image, torch.ones_like(label)) for image, label in scenes]
    only = settings.model_copy(update={"real_ratio": 1.0})
    assert (
        contents(train("mixed", settings=only, real=real))[TRAINING_LOG]
        == (contents(train("real", settings=only, data=real))[TRAINING_LOG])
    )
    assert json.loads((train("mixed", settings=only, real=real) / DESCRIPTION).read_text())["num_images"] == 20


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"accumulate": 3}, "cannot be divided; got batch_size 4; expected a multiple of 3 parts x 1 processes"),
        ({"accumulate": 4}, "nothing to average; got batch_size 4; expected 8 or more"),
    ],
)
def test_a_batch_that_cannot_be_divided(train, settings, change, message):
    with pytest.raises(ConfigError, match=message) as error:
        train(settings=settings.model_copy(update=change))
    assert "\n" not in str(error.value)


def test_a_network_of_the_users_own_trains_and_resumes(train, settings):
    own = settings.model_validate(settings.model_dump() | {"segmenter": Own})
    whole = train("whole", settings=own)
    with pytest.raises(KeyboardInterrupt):
        train("stopped", on_step=interrupt_at(7), settings=own, checkpoint_every=3)
    stopped = train("stopped", settings=own, checkpoint_every=3)
    assert (stopped / WEIGHTS).read_bytes() == (whole / WEIGHTS).read_bytes()
    assert json.loads((whole / DESCRIPTION).read_text())["segmenter"] == "tests.helpers.own_segmenter:Own"


@pytest.mark.parametrize(
    ("own", "change", "message"),
    [
        (smaller, {}, r"the logits of .*:smaller have the wrong shape; got \(2, 2, 8, 8\); expected \(2, 2, 16, 16\)"),
        # jaxtyping's error while tests run, Python's own otherwise
        (
            Wrapped,
            {},
            r"Wrapped gives no logits; got Type\w*Error: .*; expected a tensor of shape \(2, 2, 16, 16\)",
        ),
        (Own, {"encoder_learning_rate_factor": 0.1}, r"Own has no encoder; got --encoder-learning-rate-factor 0\.1"),
        (Own, {"pretrained": True}, r"Own starts as it is made; got --pretrained; fix: leave it out"),
    ],
)
def test_what_a_network_of_the_users_own_cannot_do_is_told_before_training(train, settings, own, change, message):
    changed = settings.model_validate(settings.model_dump() | {"segmenter": own} | change)
    with pytest.raises((ConfigError, ModelError), match=message) as error:
        train(settings=changed, on_step=never)
    assert "\n" not in str(error.value)
