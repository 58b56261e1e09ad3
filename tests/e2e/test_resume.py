"""Whatever stops the drawing, the same command finishes it, and no byte tells that it was ever stopped."""

import shutil
import signal

import pytest
from tests.helpers.processes import Command, files_of, refuse, run_command, succeed, times_of

from dataset_diffusion.disk.locks import folder_lock

NUM_SHARDS = 8
DRAWING = ("--steps", 4, "--height", 64, "--width", 64, "--batch-size", 1, "--shard-size", 1, "--device", "cpu")
DRAWING += ("--reading", "plain")  # whose dataset.json is shorter than a shard


@pytest.fixture(scope="module")
def generate(tmp_path_factory):
    """A function that gives the words which draw eight shards of one image into a folder."""
    prompts = tmp_path_factory.mktemp("prompts") / "prompts.jsonl"
    succeed("prompts", "--num-images", NUM_SHARDS, "--out", prompts)
    return lambda out: ("generate", "--prompts", prompts, "--out", out, *DRAWING)


@pytest.fixture(scope="module")
def uninterrupted(generate, tmp_path_factory):
    """The dataset of a command that nothing stopped. Like the others it is drawn in a process of its own."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    assert Command(*generate(folder / "dataset"), printed=folder / "printed").wait() == 0
    return folder / "dataset"


def num_shards(dataset):
    return len(list((dataset / "shards").glob("*.parquet")))


def test_killed_at_several_points_it_ends_with_the_same_bytes(generate, uninterrupted, tmp_path):
    dataset = tmp_path / "dataset"
    for shards in (0, 1, 3):
        command = Command(*generate(dataset), printed=tmp_path / "printed")
        command.wait_until(lambda shards=shards: (dataset / "dataset.json").exists() and num_shards(dataset) >= shards)
        command.send(signal.SIGKILL)
        assert command.wait() == -signal.SIGKILL
        assert num_shards(dataset) < NUM_SHARDS
    assert Command(*generate(dataset), printed=tmp_path / "printed").wait() == 0
    assert files_of(dataset) == files_of(uninterrupted)


def test_an_interrupt_exits_with_130_and_the_same_command_resumes(generate, uninterrupted, tmp_path):
    dataset = tmp_path / "dataset"
    command = Command(*generate(dataset), printed=tmp_path / "printed")
    command.wait_until(lambda: num_shards(dataset) >= 1)
    command.send(signal.SIGINT)
    assert command.wait() == 130
    assert (tmp_path / "printed").read_text().splitlines()[-1] == "interrupted: the same command resumes"
    assert not list(dataset.rglob(".*.tmp"))
    done = times_of(dataset)
    assert 1 <= num_shards(dataset) < NUM_SHARDS
    assert Command(*generate(dataset), printed=tmp_path / "printed").wait() == 0
    assert files_of(dataset) == files_of(uninterrupted)
    assert done.items() <= times_of(dataset).items()


def test_a_full_disk_is_told_in_one_line_and_loses_nothing(generate, uninterrupted, tmp_path):
    dataset, printed = tmp_path / "dataset", tmp_path / "printed"
    smallest = min(path.stat().st_size for path in uninterrupted.rglob("*.parquet"))
    assert Command(*generate(dataset), printed=printed, largest_file=smallest // 2).wait() == 2
    message = printed.read_text().splitlines()
    assert message == [
        f"error: cannot write {dataset / 'shards' / '00000.parquet'}; got File too large; "
        "fix: make room or choose another --out, then run the same command again"
    ]
    assert files_of(dataset).keys() == {"dataset.json"}
    assert Command(*generate(dataset), printed=printed).wait() == 0
    assert files_of(dataset) == files_of(uninterrupted)


def test_half_a_shard_under_its_temporary_name_is_no_shard(generate, uninterrupted, tmp_path):
    dataset = tmp_path / "dataset"
    shutil.copytree(uninterrupted, dataset)
    lost = dataset / "shards" / "00003.parquet"
    lost.with_name(".00003.parquet.0badcafe.tmp").write_bytes(lost.read_bytes()[:1000])
    lost.unlink()
    refused = run_command("train", dataset, "--out", tmp_path / "model")
    assert refused.status == 2
    assert "lacks 1 of 8 shards; fix: run the command that began it again" in refused.err
    assert Command(*generate(dataset), printed=tmp_path / "printed").wait() == 0
    assert files_of(dataset) == files_of(uninterrupted)


@pytest.fixture
def truncated(uninterrupted, tmp_path):
    """A dataset whose third shard has lost its end."""
    shutil.copytree(uninterrupted, tmp_path / "dataset")
    shard = tmp_path / "dataset" / "shards" / "00002.parquet"
    shard.write_bytes(shard.read_bytes()[:-1000])
    return tmp_path / "dataset"


def test_a_truncated_shard_is_named(truncated, tmp_path):
    shard = truncated / "shards" / "00002.parquet"
    message = refuse("train", truncated, "--out", tmp_path / "model")
    assert message.startswith(f"{shard} is damaged; got ")
    assert f"fix: delete {shard} and run the command that made the dataset again" in message
    assert not (tmp_path / "model").exists()


def test_verify_says_what_is_wrong_and_repairs_it(truncated, uninterrupted, generate):
    _, _, prompts, *_ = generate(truncated)
    (truncated / "shards" / "00005.parquet").unlink()
    damaged = run_command("verify", truncated)
    assert damaged.status == 2
    assert [line.split(";")[0] for line in damaged.out.splitlines()] == [
        f"{truncated}/shards/00002.parquet is damaged",
        f"{truncated}/shards/00005.parquet is missing",
    ]
    assert damaged.err.splitlines()[-1] == (
        f"error: {truncated} is not whole; got the 2 problems listed before; "
        f"fix: `dataset-diffusion verify {truncated} --repair` generates missing and damaged shards again"
    )
    said = succeed("verify", truncated, "--repair", "--prompts", prompts).splitlines()
    assert said == [
        f"{truncated}/shards/00002.parquet: generated again",
        f"{truncated}/shards/00005.parquet: generated again",
        f"{truncated}: 8 samples in 8 shards, all whole",
    ]
    assert succeed("verify", truncated, "--repair").splitlines() == said[-1:]


def test_a_second_writer_is_refused_and_disturbs_nothing(generate, uninterrupted, tmp_path):
    dataset = tmp_path / "dataset"
    with folder_lock(dataset):
        for words in (generate(dataset), ("relabel", dataset)):
            assert refuse(*words).splitlines()[0].startswith(f"{dataset} is being written; got process ")
    assert Command(*generate(dataset), printed=tmp_path / "printed").wait() == 0
    assert files_of(dataset) == files_of(uninterrupted)


def test_an_interrupt_while_training_exits_with_130_too(uninterrupted, tmp_path):
    model, printed = tmp_path / "model", tmp_path / "printed"
    train = ("train", uninterrupted, "--out", model, "--batch-size", 2)
    command = Command(*train, "--iterations", 1000, printed=printed)
    command.wait_until(lambda: (model / "training_log.jsonl").exists() and (model / "training_log.jsonl").read_text())
    command.send(signal.SIGINT)
    assert command.wait() == 130
    assert printed.read_text().splitlines()[-1] == "interrupted: the same command resumes"
    assert not (model / "model.json").exists()
    # Nothing of it was kept yet, so that another recipe may have the folder.
    assert Command(*train, "--iterations", 2, printed=printed).wait() == 0
    assert len((model / "training_log.jsonl").read_text().splitlines()) == 2
