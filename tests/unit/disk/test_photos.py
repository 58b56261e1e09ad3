import pytest

from dataset_diffusion.disk.photos import list_photos
from dataset_diffusion.errors import DatasetError


def test_photos_of_every_suffix_are_listed_by_name_and_other_files_told(tmp_path, capsys):
    (tmp_path / "sub").mkdir()
    for name in ("b.JPG", "a.png", "c.Jpeg", "sub/d.webp", "e.tif", "f.TIFF", "g.bmp", ".h.png", "i.gif", "j.txt"):
        (tmp_path / name).touch()
    listed = list_photos(tmp_path)
    names = [photo.relative_to(tmp_path).as_posix() for photo in listed]
    assert names == ["a.png", "b.JPG", "c.Jpeg", "e.tif", "f.TIFF", "g.bmp", "sub/d.webp"]
    assert capsys.readouterr().err == f"left out 2 files that are no photos in {tmp_path}: i.gif, j.txt\n"


def test_a_folder_without_photos_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("no photo")
    with pytest.raises(DatasetError) as error:
        list_photos(tmp_path)
    assert str(error.value) == (
        f"no photos in the folder; got {tmp_path}; "
        "expected files that end in .bmp, .jpeg, .jpg, .png, .tif, .tiff, .webp"
    )
