from pathlib import Path

import pytest
from upath import UPath

from dataset_diffusion.disk.places import below, local_folder, locate
from dataset_diffusion.errors import DatasetError


def test_local_paths_stay_and_urls_are_of_their_storage():
    assert locate("runs/demo") == Path("runs/demo") == local_folder("runs/demo")
    remote = locate("memory://bucket/set")
    assert isinstance(remote, UPath)
    assert remote.protocol == "memory"
    assert locate(remote) is remote


def test_what_is_written_goes_to_this_machine():
    with pytest.raises(DatasetError, match=r"^datasets are written to local folders; got memory://bucket/set; fix: "):
        local_folder("memory://bucket/set")


def test_a_storage_that_nobody_knows():
    with pytest.raises(DatasetError, match=r"^cannot read from this storage; got nowhere://x .*expected an URL of fss"):
        locate("nowhere://x")


def test_a_name_is_a_place_below_its_folder():
    assert below(Path("out"), "a b.png") == Path("out/a b.png")
    assert below(Path("out"), "city/frame.png") == Path("out/city/frame.png")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../x", "a name leaves its folder; got '../x'; expected a name below out"),
        ("a/../../x", "a name leaves its folder"),
        ("/abs/x", "a name leaves its folder"),
        ("", "a name that cannot name a file; got ''"),
        ("./a", "a name that cannot name a file"),
        ("a//b", "a name that cannot name a file"),
        ("a\0b", r"a name that cannot name a file; got 'a\\x00b'"),
        ("\ud800", r"a name that cannot name a file; got '\\ud800'"),
        ("a" * 5000, "a name is too long; got 5000 bytes: aaa"),
    ],
)
def test_names_that_are_no_place_below_the_folder_are_refused(name, message):
    with pytest.raises(DatasetError) as error:
        below(Path("out"), name)
    assert str(error.value).startswith(message.replace("\\\\", "\\"))
