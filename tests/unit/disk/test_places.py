from pathlib import Path

import pytest
from upath import UPath

from dataset_diffusion.disk.places import local_folder, locate
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
