import numpy as np
import pytest
from PIL import Image

from dataset_diffusion.disk.pictures import check_picture, decode_photo, read_photo
from dataset_diffusion.errors import ConfigError, DatasetError

PICTURE = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
TURNED = {1: PICTURE, 2: PICTURE[:, ::-1], 3: PICTURE[::-1, ::-1], 6: np.rot90(PICTURE, -1), 8: np.rot90(PICTURE)}


@pytest.mark.parametrize("orientation", TURNED)
def test_photos_are_turned_as_their_exif_data_says(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(PICTURE).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(read_photo(tmp_path / "a.png"), TURNED[orientation])


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_data_does_not_cost_the_photo(tmp_path):
    Image.fromarray(PICTURE).save(tmp_path / "a.png", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff")
    assert np.array_equal(read_photo(tmp_path / "a.png"), PICTURE)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_the_upper_8_of_16_bits_are_taken(tmp_path, suffix):
    levels = np.arange(0, 65536, 64, dtype=np.uint16).reshape(16, 64)
    Image.fromarray(levels).save(tmp_path / f"a.{suffix}")
    photo = read_photo(tmp_path / f"a.{suffix}")
    assert np.array_equal(photo, np.repeat((levels >> 8).astype(np.uint8)[..., None], 3, axis=2))


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_levels_of_32_bits_are_refused(tmp_path, dtype):
    Image.fromarray(np.zeros((2, 2), dtype)).save(tmp_path / "a.tif")
    with pytest.raises(DatasetError, match=r"a photo cannot be read; got .*a\.tif: the levels .* of 32 bits; got mode"):
        read_photo(tmp_path / "a.tif")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_photos_of_any_mode_are_rgb(tmp_path, mode):
    picture = Image.fromarray(PICTURE).convert(mode)
    picture.save(tmp_path / "a.tif")
    assert np.array_equal(read_photo(tmp_path / "a.tif"), np.array(picture.convert("RGB")))


@pytest.mark.parametrize("data", [b"", b"no picture", "cut"])
def test_what_is_no_photo_is_refused(tmp_path, data):
    Image.fromarray(PICTURE).save(tmp_path / "a.jpg")
    data = (tmp_path / "a.jpg").read_bytes()[:-200] if data == "cut" else data
    with pytest.raises(DatasetError, match=r"^the bytes are not an image; got "):
        decode_photo(data)


def test_a_photo_that_is_missing_is_named(tmp_path):
    with pytest.raises(
        DatasetError, match=f"^a photo cannot be read; got {tmp_path}/a.jpg: .*; fix: replace or remove"
    ):
        read_photo(tmp_path / "a.jpg")


@pytest.mark.parametrize(
    ("image", "got"),
    [
        (PICTURE[..., 0], r"uint8 of shape \(20, 30\); expected a uint8 array of RGB in \[0, 255\], \"h w 3\"$"),
        (PICTURE / 255, r"float64 of shape \(20, 30, 3\); .*; fix: \(image \* 255\)\.round\(\)"),
        (PICTURE[:0], r"uint8 of shape \(0, 30, 3\)"),
        (Image.fromarray(PICTURE), r"Image; .*; fix: np.asarray\(image.convert"),
        (None, "NoneType"),
    ],
    ids=["grey", "floats", "empty", "Pillow", "None"],
)
def test_what_is_no_array_of_rgb_is_no_picture(image, got):
    check_picture(PICTURE)
    with pytest.raises(ConfigError, match=f"^not a picture; got {got}"):
        check_picture(image)
