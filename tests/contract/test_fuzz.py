"""Whatever is damaged in whatever file, its reader reads on or says so in one line; `make faults` tries far more."""

import pytest
from tests.helpers.fuzzing import READERS, fuzz

CASES = 12


@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_read_or_refused(name, tmp_path):
    fuzz(name, tmp_path, CASES)


def test_the_bounds_are_held(tmp_path, monkeypatch):
    """A reader that fails as none may is found."""

    def read(folder):
        if (folder / "a.txt").read_bytes() != b"a cat":
            raise KeyError("a.txt")

    monkeypatch.setitem(READERS, "broken", (lambda folder: (folder / "a.txt").write_bytes(b"a cat"), read))
    with pytest.raises(KeyError):
        fuzz("broken", tmp_path, CASES)
