"""Decoding: every oddity becomes RGB or a clear error; fitting equals CLIP's own."""

import io
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from memeblend.data.images import ImageLimits, ImageTransform, load_image
from memeblend.errors import ImageError


def _saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def _pixel(data: bytes, at: tuple[int, int] = (0, 0)) -> tuple[int, ...]:
    image = load_image(data)
    assert image.mode == "RGB"
    value = image.getpixel(at)
    assert isinstance(value, tuple)
    return value


def _png_header(width: int, height: int) -> bytes:
    """A PNG that announces a size and holds almost nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 8)) + chunk(b"IEND", b"")
    )


class TestModes:
    def test_transparency_is_laid_on_white(self) -> None:
        image = Image.new("RGBA", (2, 1), (255, 0, 0, 0))
        image.putpixel((1, 0), (0, 0, 0, 51))
        assert _pixel(_saved(image)) == (255, 255, 255)
        assert _pixel(_saved(image), (1, 0)) == (204, 204, 204)

    def test_grey_with_alpha(self) -> None:
        assert _pixel(_saved(Image.new("LA", (1, 1), (0, 128)))) == (127, 127, 127)

    def test_palette_with_transparent_colour(self) -> None:
        image = Image.new("P", (1, 1), 0)
        image.putpalette([10, 20, 30])
        assert _pixel(_saved(image)) == (10, 20, 30)
        assert _pixel(_saved(image, transparency=0)) == (255, 255, 255)

    def test_rgb_with_a_transparent_colour(self) -> None:
        assert _pixel(_saved(Image.new("RGB", (1, 1), (1, 2, 3)), transparency=(1, 2, 3))) == (255, 255, 255)

    def test_sixteen_bit_grey_keeps_its_upper_byte(self) -> None:
        image = Image.fromarray(np.array([[0x1234, 0xFFFF]], dtype=np.uint16))
        assert _pixel(_saved(image)) == (0x12,) * 3
        assert _pixel(_saved(image), (1, 0)) == (255,) * 3

    def test_thirty_two_bit_and_floating_point(self) -> None:
        whole = Image.fromarray(np.array([[0x1234, 70_000]], dtype=np.int32))
        assert _pixel(_saved(whole, "TIFF")) == (0x12,) * 3
        assert _pixel(_saved(whole, "TIFF"), (1, 0)) == (255,) * 3
        real = Image.fromarray(np.array([[-1.0, 0.0, 1.0]], dtype=np.float32))
        assert [_pixel(_saved(real, "TIFF"), (x, 0))[0] for x in range(3)] == [0, 127, 255]

    def test_black_and_white(self) -> None:
        assert _pixel(_saved(Image.new("1", (1, 1), 1))) == (255,) * 3

    def test_cmyk(self) -> None:
        red, green, blue = _pixel(_saved(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"))
        assert red > 240
        assert max(green, blue) < 15

    def test_exif_rotation(self) -> None:
        image = Image.new("RGB", (40, 20), "white")
        image.paste("black", (0, 0, 20, 20))
        exif = Image.Exif()
        exif[0x0112] = 6  # the camera was turned: show it rotated by 90 degrees clockwise
        turned = load_image(_saved(image, "JPEG", exif=exif))
        assert turned.size == (20, 40)
        assert turned.getpixel((10, 5))[0] < 50
        assert turned.getpixel((10, 35))[0] > 200

    def test_only_the_first_frame_of_an_animation(self) -> None:
        frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
        for kind in ("GIF", "WEBP", "MPO"):  # MPO: a JPEG of several pictures, as telephones take them
            red, _, blue = _pixel(_saved(frames[0], kind, save_all=True, append_images=frames[1:]))
            assert red > 200
            assert blue < 50

    def test_the_copy_outlives_its_source(self, tmp_path: Path) -> None:
        path = tmp_path / "a.png"
        Image.new("RGB", (3, 2), "red").save(path)
        image = load_image(path)
        path.unlink()
        assert image.getpixel((2, 1)) == (255, 0, 0)


class TestRefusals:
    def test_missing_file_and_folder(self, tmp_path: Path) -> None:
        with pytest.raises(ImageError, match="There is no file"):
            load_image(tmp_path / "none.png")
        with pytest.raises(ImageError, match="is not a file"):
            load_image(tmp_path)

    def test_text_named_jpg(self, tmp_path: Path) -> None:
        path = tmp_path / "a.jpg"
        path.write_text("not a picture")
        with pytest.raises(ImageError, match=r"a\.jpg' is not an image"):
            load_image(path)

    def test_postscript_is_not_run(self) -> None:
        with pytest.raises(ImageError, match="not an image"):
            load_image(_saved(Image.new("RGB", (4, 4)), "EPS"))

    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF"])
    def test_truncated(self, kind: str) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        data = _saved(Image.fromarray(noise), kind)
        with pytest.raises(ImageError):
            load_image(data[: len(data) // 2])

    def test_a_header_alone_is_not_believed(self) -> None:
        with pytest.raises(ImageError, match="truncated or corrupt"):
            load_image(_png_header(100, 100))

    @pytest.mark.parametrize("side", [10_000, 30_000, 2**31 - 1])
    def test_bomb_is_refused_by_its_header(self, side: int) -> None:
        with pytest.raises(ImageError, match="pixels"):
            load_image(_png_header(side, side))

    def test_limits(self) -> None:
        data = _saved(Image.new("RGB", (10, 10)))
        assert load_image(data, ImageLimits(max_bytes=len(data), max_pixels=100)).size == (10, 10)
        with pytest.raises(ImageError, match="99"):
            load_image(data, ImageLimits(max_pixels=99))
        with pytest.raises(ImageError, match="bytes"):
            load_image(data, ImageLimits(max_bytes=len(data) - 1))

    @given(st.binary(max_size=200), st.integers(0, 150))
    @settings(max_examples=60, deadline=None)
    @pytest.mark.filterwarnings("ignore")
    def test_damage_gives_an_image_or_an_image_error(self, junk: bytes, at: int) -> None:
        data = _saved(Image.new("RGB", (30, 30), "red"))
        damaged = data[:at] + junk + data[at + len(junk) :]
        try:
            image = load_image(damaged)
        except ImageError:
            return
        assert image.mode == "RGB"

    @pytest.mark.filterwarnings("ignore")
    def test_broken_exif_is_no_reason_to_refuse(self) -> None:
        data = _saved(Image.new("RGB", (8, 8), "red"), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
        assert _pixel(data)[0] > 240


class TestTransform:
    @pytest.mark.parametrize("size", [16, 97])
    @pytest.mark.parametrize("shape", [(64, 48), (48, 64), (50, 50), (200, 31), (10, 300), (7, 5), (97, 97)])
    def test_crop_equals_the_clip_processor(self, shape: tuple[int, int], size: int) -> None:
        from transformers import CLIPImageProcessorPil

        noise = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
        image = Image.fromarray(noise)
        processor = CLIPImageProcessorPil(
            size={"shortest_edge": size},
            crop_size={"height": size, "width": size},
            do_rescale=False,
            do_normalize=False,
        )
        expected = np.asarray(processor(image, return_tensors="np")["pixel_values"][0]).transpose(1, 2, 0)
        ours = ImageTransform(size, "crop").apply(image)
        np.testing.assert_array_equal(ours, expected)

    def test_crop_of_a_strip_is_close_to_the_whole_resized(self) -> None:
        ramp = np.linspace(0, 255, 4000).round().astype(np.uint8)
        strip = Image.fromarray(np.repeat(ramp[None, :, None], 3, axis=2))
        ours = ImageTransform(16, "crop").apply(strip)
        whole = np.asarray(strip.resize((64_000, 16), Image.Resampling.BICUBIC))[:, 31_992:32_008]
        assert np.abs(ours.astype(int) - whole.astype(int)).max() <= 1

    def test_letterbox_shows_everything_on_grey(self) -> None:
        wide = ImageTransform(10, "letterbox").apply(Image.new("RGB", (40, 20), "white"))
        assert wide.shape == (10, 10, 3)
        assert wide.dtype == np.uint8
        assert wide[:, 5, 0].tolist() == [128] * 2 + [255] * 5 + [128] * 3
        tall = ImageTransform(10, "letterbox").apply(Image.new("RGB", (20, 40), "white"))
        assert (tall == wide.transpose(1, 0, 2)).all()

    @given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 40), st.sampled_from(["letterbox", "crop"]))
    @settings(max_examples=60, deadline=None)
    def test_any_shape_fills_the_square(self, width: int, height: int, size: int, fit: str) -> None:
        pixels = ImageTransform(size, fit).apply(Image.new("RGB", (width, height), (9, 9, 9)))
        assert pixels.shape == (size, size, 3)
        assert set(np.unique(pixels)) <= ({9} if fit == "crop" else {9, 128})
        assert (pixels == 9).any()

    @pytest.mark.parametrize("fit", ["letterbox", "crop"])
    @pytest.mark.parametrize("shape", [(1, 4000), (4000, 1), (1, 1), (50_000, 1)])
    def test_strips(self, shape: tuple[int, int], fit: str) -> None:
        pixels = ImageTransform(96, fit).apply(Image.new("RGB", shape, "white"))
        assert (pixels == 255).all(axis=2).any()

    def test_round_trip_and_refusals(self) -> None:
        transform = ImageTransform(96, "crop")
        assert ImageTransform.from_dict(transform.to_dict()) == transform
        with pytest.raises(ValueError, match="size is 0"):
            ImageTransform(0, "crop")
        with pytest.raises(ValueError, match="'stretch'"):
            ImageTransform(8, "stretch")


def _of_many_scans(number: int) -> bytes:
    """A progressive JPEG of 25 megapixels whose last scan comes again and again."""
    data = _saved(Image.new("L", (5000, 5000), 128), "JPEG", progressive=True)
    begins, ends = data.rfind(b"\xff\xda"), data.rfind(b"\xff\xd9")
    return data[:ends] + data[begins:ends] * number + data[ends:]


def test_scans_without_end_are_refused_before_they_take_minutes() -> None:
    bomb = _of_many_scans(4000)
    assert len(bomb) < 300_000
    began = time.process_time()
    with pytest.raises(ImageError, match="more than 100 scans"):
        load_image(bomb)
    assert time.process_time() - began < 1
    noise = Image.effect_noise((300, 300), 90).convert("RGB")
    for progressive in (False, True):
        assert load_image(_saved(noise, "JPEG", progressive=progressive)).size == (300, 300)


@pytest.mark.parametrize(("side", "refused"), [(256, False), (32_768, True)])
def test_tiles_that_are_larger_than_an_image_may_be_are_refused(side: int, refused: bool) -> None:
    """A TIFF of 16 x 16 pixels in one tile, which a decoder makes room for as a whole."""
    data = zlib.compress(bytes(256 * 256))
    tags = {
        256: 16,
        257: 16,
        258: 8,
        259: 8,
        262: 1,
        277: 1,
        322: side,
        323: side,
        324: 10 + 12 * 10 + 4,
        325: len(data),
    }
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    tiff = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + data
    if refused:
        with pytest.raises(ImageError, match="tiles of 1,073,741,824 pixels"):
            load_image(tiff)
    else:
        assert load_image(tiff).size == (16, 16)
