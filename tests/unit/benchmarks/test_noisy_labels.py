from benchmarks.noisy_labels import CHANGES, SIZES, settings_of, table

from dataset_diffusion.config import TrainSettings


def test_every_row_trains_for_as_many_steps_and_changes_something():
    size = SIZES["small"]
    rows = {name: settings_of(size, change) for name, change in CHANGES.items()}
    assert {row.iterations * (1 + row.self_training) for row in rows.values()} == {size.iterations}
    assert len(set(map(str, rows.values()))) == len(rows)
    assert rows["plain"] == TrainSettings(iterations=size.iterations, batch_size=size.batch_size)


def test_the_table_compares_seed_with_seed_as_far_as_there_are_any():
    lines = table({"plain": [0.5, 0.6], "other": [0.75]})
    assert lines[2:] == ["| plain | 0.550 | 0.500, 0.600 | +0.000, +0.000 |", "| other | 0.750 | 0.750 | +0.250 |"]
