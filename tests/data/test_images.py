"""One reader for images and one for label maps."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import wsss_seed
from wsss_seed.data.images import (
    FORMATS,
    LIMIT_VARIABLE,
    REMEDIES,
    SUFFIXES,
    fitting_suffix,
    image_size,
    read_labels,
    read_orientation,
    read_palette,
    read_rgb,
    reads_alike,
)
from wsss_seed.errors import ImageError, UsageError, WsssError

RGB = np.random.RandomState(0).randint(0, 256, (5, 7, 3), np.uint8)


def save(path: Path, array: np.ndarray, mode: str | None = None, **options: object) -> Path:
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


def png(path: Path, width: int, height: int, bits: int, colour: int, rows: bytes) -> Path:
    """A PNG written by hand, for pixel formats that PIL does not write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    return path


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".tiff", ".PNG"])
def test_lossless_formats_come_back_exactly(tmp_path: Path, suffix: str):
    got = read_rgb(save(tmp_path / f"a{suffix}", RGB))
    assert got.dtype == np.uint8
    assert got.flags.writeable
    np.testing.assert_array_equal(got, RGB)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_suffix_gives_rgb_of_the_images_size(tmp_path: Path, suffix: str):
    smooth = np.broadcast_to(np.linspace(0, 200, 40, dtype=np.uint8)[None, :, None], (30, 40, 3)).copy()
    got = read_rgb(save(tmp_path / f"a{suffix}", smooth))
    assert got.shape == (30, 40, 3)
    assert np.abs(got.astype(int) - smooth).max() <= 8


def test_grey_palette_and_bilevel(tmp_path: Path):
    grey = RGB[:, :, 0]
    np.testing.assert_array_equal(read_rgb(save(tmp_path / "l.png", grey)), np.repeat(grey[:, :, None], 3, 2))
    assert read_rgb(save(tmp_path / "l.jpg", grey)).shape == (5, 7, 3)
    palette = Image.fromarray(RGB).quantize(16)
    palette.save(tmp_path / "p.png")
    np.testing.assert_array_equal(read_rgb(tmp_path / "p.png"), np.asarray(palette.convert("RGB")))
    bits = grey > 128
    np.testing.assert_array_equal(read_rgb(save(tmp_path / "1.png", bits))[:, :, 1], np.where(bits, 255, 0))


def test_cmyk_is_not_inverted(tmp_path: Path):
    red = np.zeros((8, 8, 3), np.uint8)
    red[:, :, 0] = 255
    Image.fromarray(red).convert("CMYK").save(tmp_path / "a.jpg", quality=100)
    got = read_rgb(tmp_path / "a.jpg").astype(int)
    assert got[:, :, 0].min() > 245
    assert got[:, :, 1:].max() < 10


def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path: Path):
    grey = np.array([[0, 255, 256, 32768, 65535]], np.uint16)
    want = [[0, 0, 1, 128, 255]]
    for name in ("a.png", "a.tif"):
        np.testing.assert_array_equal(read_rgb(save(tmp_path / name, grey))[:, :, 2], want)
    # Colour of 16 bits a channel is scaled in the same way.
    rows = b"\0" + np.array([0, 255, 65535, 256, 32768, 511], ">u2").tobytes()
    np.testing.assert_array_equal(read_rgb(png(tmp_path / "c.png", 2, 1, 16, 2, rows)), [[[0, 0, 255], [1, 128, 1]]])


def test_transparent_pixels_show_white(tmp_path: Path):
    rgba = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 0, 0, 128]]], np.uint8)
    for name in ("a.png", "a.tif"):
        got = read_rgb(save(tmp_path / name, rgba)).astype(int)
        assert got[0, :2].tolist() == [[10, 20, 30], [255, 255, 255]]
        assert np.abs(got[0, 2] - 127).max() <= 1
    la = np.array([[[40, 255], [40, 0]]], np.uint8)
    assert read_rgb(save(tmp_path / "la.png", la)).tolist() == [[[40] * 3, [255] * 3]]
    palette = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    palette.putpalette([9, 8, 7, 1, 2, 3])
    palette.save(tmp_path / "p.png", transparency=1)
    assert read_rgb(tmp_path / "p.png").tolist() == [[[9, 8, 7], [255] * 3]]


@pytest.mark.parametrize(("name", "form"), [("a.webp", "WEBP"), ("a.png", "PNG"), ("a.tiff", "TIFF")])
def test_first_frame_of_an_animation(tmp_path: Path, name: str, form: str):
    frames = [Image.new("RGB", (6, 4), colour) for colour in ((250, 0, 0), (0, 250, 0))]
    options = {"lossless": True} if form == "WEBP" else {}
    frames[0].save(tmp_path / name, form, save_all=True, append_images=frames[1:], **options)
    got = read_rgb(tmp_path / name)
    assert got.shape == (4, 6, 3)
    assert got[0, 0].tolist() == [250, 0, 0]


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_stored_orientation_is_kept_in_every_format(tmp_path: Path, name: str, orientation: int):
    # Annotations go by the stored pixels, so a mask has the size that PIL tells.
    exif = Image.Exif()
    exif[0x0112] = orientation
    wide = np.zeros((4, 16, 3), np.uint8)
    wide[:, :8] = 255
    path = save(tmp_path / name, wide, exif=exif)
    got = read_rgb(path)
    with Image.open(path) as image:
        assert got.shape[:2] == (image.height, image.width) == (4, 16)
    assert got[0, 0].min() > 200
    assert got[0, 15].max() < 50
    assert read_orientation(path) == orientation
    assert read_orientation(save(tmp_path / "plain.jpg", wide)) == 1


@pytest.mark.parametrize("orientation", [3, 6])
def test_the_orientation_of_tiff_is_part_of_the_format(tmp_path: Path, orientation: int):
    path = save(tmp_path / "a.tif", RGB, exif=Image.Exif(), tiffinfo={0x0112: orientation})
    with Image.open(path) as image:
        want = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(read_rgb(path), want)
    np.testing.assert_array_equal(want, np.rot90(RGB, {3: 2, 6: -1}[orientation]))
    assert read_orientation(path) == 1


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 5000), (5000, 1)])
def test_thin_and_tiny_images(tmp_path: Path, height: int, width: int):
    array = np.full((height, width, 3), 7, np.uint8)
    for name in ("a.png", "a.jpg"):
        assert read_rgb(save(tmp_path / name, array)).shape == (height, width, 3)


def test_just_below_the_limit_is_read_and_above_is_refused(tmp_path: Path, monkeypatch):
    Image.new("1", (2000, 1000)).save(tmp_path / "at.png")
    Image.new("1", (2000, 1001)).save(tmp_path / "above.png")
    monkeypatch.setenv(LIMIT_VARIABLE, "2")
    assert read_rgb(tmp_path / "at.png").shape == (1000, 2000, 3)
    with pytest.raises(ImageError, match=r"more than 2 megapixels; set the environment .*MEGAPIXELS=3 to read"):
        read_rgb(tmp_path / "above.png")
    monkeypatch.setenv(LIMIT_VARIABLE, "3")
    assert read_rgb(tmp_path / "above.png").shape == (1001, 2000, 3)
    for value in ("0", "-1", "many", "1e3"):
        monkeypatch.setenv(LIMIT_VARIABLE, value)
        with pytest.raises(UsageError, match=f"{LIMIT_VARIABLE}={value}: expected a number of megapixels"):
            read_rgb(tmp_path / "at.png")


def test_photographs_of_phones_are_below_the_default_limit(tmp_path: Path, monkeypatch):
    png(tmp_path / "phone.png", 16_320, 12_240, 1, 0, b"")
    assert image_size(tmp_path / "phone.png") == (16_320, 12_240)
    png(tmp_path / "camera.png", 30_000, 20_000, 1, 0, b"")
    monkeypatch.setenv(LIMIT_VARIABLE, "600")
    assert image_size(tmp_path / "camera.png") == (30_000, 20_000)


def test_large_images_are_converted_in_strips(tmp_path: Path, monkeypatch):
    rgba = np.random.RandomState(0).randint(0, 256, (40, 50, 4), np.uint8)
    paths = [save(tmp_path / "rgba.png", rgba), save(tmp_path / "rgb.jpg", rgba[:, :, :3])]
    Image.fromarray(rgba[:, :, :3]).quantize(16).save(tmp_path / "p.png", transparency=3)
    whole = [read_rgb(path) for path in (*paths, tmp_path / "p.png")]
    monkeypatch.setattr("wsss_seed.data.images._STRIP", 50 * 7)
    for path, want in zip((*paths, tmp_path / "p.png"), whole, strict=True):
        np.testing.assert_array_equal(read_rgb(path), want)


def test_a_decompression_bomb_is_one_clear_error_and_no_warning(tmp_path: Path):
    for name, side in (("big.png", 20_000), ("bomb.png", 60_000)):
        png(tmp_path / name, side, side, 1, 0, b"")
    code = (
        "import sys\nfrom pathlib import Path\nfrom wsss_seed.data.images import read_rgb\n"
        "from wsss_seed.errors import ImageError\n"
        "for p in sys.argv[1:]:\n    try:\n        read_rgb(Path(p))\n    except ImageError as e:\n        print(e)\n"
    )
    files = [str(tmp_path / n) for n in ("big.png", "bomb.png")]
    done = subprocess.run([sys.executable, "-c", code, *files], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    big, bomb = done.stdout.splitlines()
    assert "big.png: 400.0 megapixels, more than 250 megapixels; set" in big
    assert "bomb.png: far too many pixels" in bomb


def test_files_that_are_no_images(tmp_path: Path):
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("not an image\n" * 10)
    (tmp_path / "x.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "broken.jpg").symlink_to(tmp_path / "nowhere.jpg")
    for name, message in {
        "empty.jpg": "empty file",
        "text.jpg": "not an image",
        "x.jpg": "a folder, not an image",
        "pipe.jpg": "not a regular file",
        "broken.jpg": "No such file",
        "missing.jpg": "No such file",
        "a\0b.jpg": "not a file name",
    }.items():
        for reader in (read_rgb, read_labels, read_orientation):
            with pytest.raises(ImageError) as e:
                reader(tmp_path / name)
            assert message in str(e.value)
            assert repr(name)[1:-1] in str(e.value)
            assert "\n" not in str(e.value)


def test_other_formats_are_refused_and_start_no_program(tmp_path: Path, monkeypatch):
    started = tmp_path / "started"
    (tmp_path / "bin").mkdir()
    ghostscript = tmp_path / "bin" / "gs"
    ghostscript.write_text(f"#!/bin/sh\ntouch '{started}'\nexit 1\n")
    ghostscript.chmod(0o755)
    monkeypatch.setenv("PATH", str(ghostscript.parent), prepend=os.pathsep)
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)  # Pillow looks for it once and remembers
    for form in ("EPS", "GIF", "PPM", "TGA", "PCX", "ICO", "JPEG2000", "SGI", "PDF"):
        for name in ("photo.jpg", "mask.png"):
            path = tmp_path / name
            Image.new("RGB", (16, 16)).save(path, form)
            for reader in (read_rgb, read_labels, image_size, read_orientation, fitting_suffix, read_palette):
                with pytest.raises(ImageError) as e:
                    reader(path)
                known = f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
                assert str(e.value) == f"{path}: not an image in {known} format, despite its name; save it as PNG"
            assert not reads_alike(path, (16, 16))
    assert not started.exists()
    Image.new("RGB", (16, 16)).save(tmp_path / "photo.eps")
    with contextlib.suppress(OSError, subprocess.CalledProcessError), Image.open(tmp_path / "photo.eps") as image:
        image.load()
    assert started.exists()  # so Pillow would have started it


def test_no_other_module_opens_image_files():
    package = Path(wsss_seed.__file__).parent
    examples = Path(__file__).parents[2] / "examples"
    ways = ("Image.open", "ImageFile.Parser", "imread(", "imdecode(", "decode_image(", "decode_jpeg(")
    users = {
        path.relative_to(folder).as_posix()
        for folder in (package, examples)
        for path in folder.rglob("*.py")
        if any(way in path.read_text("utf-8") for way in ways)
    }
    assert users == {"data/images.py"}


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "jpeg"])
def test_libtiff_writes_nothing_to_standard_error(tmp_path: Path, compression: str, capfd):
    path = tmp_path / "a.tif"
    noise = np.random.RandomState(0).randint(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(path, compression=compression)
    data = np.frombuffer(path.read_bytes(), np.uint8).copy()
    data[200 : len(data) // 2] = data[200 : len(data) // 2] * 7 + 13
    path.write_bytes(data)
    with contextlib.suppress(ImageError):
        read_rgb(path)
    assert capfd.readouterr() == ("", "")


def test_what_is_read_alike_by_everybody(tmp_path: Path):
    smooth = np.broadcast_to(np.linspace(0, 200, 7, dtype=np.uint8)[None, :, None], (5, 7, 3)).copy()
    turned = Image.Exif()
    turned[0x0112] = 6
    alike = {
        save(tmp_path / "a.jpg", smooth): True,
        save(tmp_path / "a.tif", smooth): True,
        save(tmp_path / "l.png", smooth, "L"): True,
        save(tmp_path / "a.avif", smooth): False,
        save(tmp_path / "t.png", smooth, transparency=(0, 0, 0)): False,
        save(tmp_path / "turned.jpg", smooth, exif=turned): False,
        save(tmp_path / "p.png", smooth, "P"): False,
        save(tmp_path / "rgba.png", smooth, "RGBA"): False,
        tmp_path / "missing.png": False,
    }
    assert {path: reads_alike(path, (7, 5)) for path in alike} == alike
    assert not reads_alike(tmp_path / "a.jpg", (5, 7))


def test_suffix_and_palette_go_by_content(tmp_path: Path):
    for form, suffix in zip(FORMATS, (".jpg", ".png", ".webp", ".bmp", ".tif", ".avif", ".heic"), strict=False):
        save(tmp_path / "a.jpg", RGB, format=form)
        assert fitting_suffix(tmp_path / "a.jpg") == suffix
        assert read_palette(tmp_path / "a.jpg") == []
    first = Image.fromarray(RGB)
    first.save(tmp_path / "a.png", "MPO", save_all=True, append_images=[first])
    assert (fitting_suffix(tmp_path / "a.png"), read_rgb(tmp_path / "a.png").shape) == (".jpg", RGB.shape)
    image = Image.new("P", (2, 2))
    image.putpalette([9, 8, 7, 1, 2, 3])
    image.save(tmp_path / "p.png")
    assert read_palette(tmp_path / "p.png")[:2] == [(9, 8, 7), (1, 2, 3)]


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("form", FORMATS)
def test_truncated_files_are_errors_and_never_half_an_image(tmp_path: Path, form: str):
    array = np.random.RandomState(1).randint(0, 256, (60, 80, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, form)
    whole = buffer.getvalue()
    path = tmp_path / "a.jpg"
    path.write_bytes(whole)
    want, refused = read_rgb(path), 0
    for keep in [2, 10, 50, *range(100, len(whole), max(len(whole) // 40, 1)), len(whole) - 1]:
        path.write_bytes(whole[:keep])
        try:
            got, message = read_rgb(path), ""
        except ImageError as e:
            got, message = want, str(e)
            refused += 1
        np.testing.assert_array_equal(got, want)
        assert not message or str(path) in message
        assert "\n" not in message
    assert refused >= 40


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_damaged_bytes_raise_nothing_but_image_errors(tmp_path: Path):
    dice = np.random.RandomState(2)
    read = 0
    for form in FORMATS:
        buffer = io.BytesIO()
        Image.fromarray(RGB).save(buffer, form)
        for _ in range(60):
            data = bytearray(buffer.getvalue())
            for at in dice.randint(0, len(data), 4):
                data[at] = dice.randint(256)
            (tmp_path / "a.jpg").write_bytes(data)
            with contextlib.suppress(ImageError):
                read += read_rgb(tmp_path / "a.jpg").dtype == np.uint8
    assert read > 0  # some damage hits only pixels


@pytest.mark.parametrize("mode", ["I", "F", "LAB"])
def test_pixels_without_a_known_range_are_refused(tmp_path: Path, mode: str):
    Image.new(mode, (3, 2)).save(tmp_path / "a.tif")
    with pytest.raises(ImageError, match="8 bits per channel"):
        read_rgb(tmp_path / "a.tif")


LABELS = np.array([[0, 1, 20], [255, 128, 15]], np.uint8)


def test_label_maps_are_indices_whatever_the_colours(tmp_path: Path):
    image = Image.fromarray(LABELS)
    image.save(tmp_path / "l.png")
    image = image.copy()
    image.putpalette(list(range(255, -1, -1)) * 3)
    image.save(tmp_path / "p.png")
    image.save(tmp_path / "t.png", transparency=0)
    for name in ("l.png", "p.png", "t.png"):
        got = read_labels(tmp_path / name)
        assert got.dtype == np.uint8
        assert got.flags.writeable
        np.testing.assert_array_equal(got, LABELS)
    few = Image.fromarray(np.array([[0, 1, 2, 3]], np.uint8), "P")
    few.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, 1, 1, 1])
    few.save(tmp_path / "few.png", bits=2)  # a palette of 2 bits a pixel is still exact
    assert read_labels(tmp_path / "few.png").tolist() == [[0, 1, 2, 3]]


def test_sixteen_bit_label_maps_are_read_where_the_values_fit(tmp_path: Path):
    np.testing.assert_array_equal(read_labels(save(tmp_path / "a.png", LABELS.astype(np.uint16))), LABELS)
    with pytest.raises(ImageError, match="label values up to 256"):
        read_labels(save(tmp_path / "b.png", np.array([[0, 256]], np.uint16)))


def test_label_maps_that_hold_no_indices_are_refused(tmp_path: Path):
    save(tmp_path / "rgb.png", RGB)
    save(tmp_path / "rgba.png", RGB, "RGBA")
    save(tmp_path / "la.png", LABELS, "LA")
    save(tmp_path / "lossy.jpg", LABELS)
    save(tmp_path / "lossy.avif", LABELS)
    save(tmp_path / "bits.png", LABELS > 1)
    png(tmp_path / "four.png", 2, 1, 4, 0, b"\0\x12")
    for name, message in {
        "rgb.png": "RGB colours; save it as palette",
        "rgba.png": "RGBA colours",
        "la.png": "LA colours",
        "lossy.jpg": "JPEG does not preserve label values",
        "lossy.avif": "AVIF does not preserve label values",
        "bits.png": "fewer than 8 bits",
        "four.png": "fewer than 8 bits",
    }.items():
        with pytest.raises(ImageError, match=message):
            read_labels(tmp_path / name)


def test_heif_is_read_where_its_library_is_installed(tmp_path: Path):
    heif = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")
    assert "HEIF" in FORMATS
    assert not REMEDIES
    smooth = np.zeros((32, 64, 3), np.uint8)
    smooth[:, :32] = 200
    exif = Image.Exif()
    exif[0x0112] = 6  # libheif turns the image, as every reader of this format does
    heif.from_pillow(Image.fromarray(smooth)).save(tmp_path / "a.heic", quality=90, exif=exif.tobytes())
    path = tmp_path / "a.heic"
    got = read_rgb(path)
    assert (got.shape, read_orientation(path), image_size(path)) == ((64, 32, 3), 1, (32, 64))
    assert got[:28].min() > 180
    assert got[36:].max() < 20
    assert fitting_suffix(path) == ".heic"
    assert not reads_alike(path, (32, 64))


@pytest.mark.skipif(not REMEDIES, reason="every format can be read here")
def test_a_format_that_cannot_be_read_here_has_a_remedy(tmp_path: Path):
    (tmp_path / "a.HEIC").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40))
    with pytest.raises(ImageError, match=r"a.HEIC: .HEIC images cannot be read here; pip install .*heif"):
        read_rgb(tmp_path / "a.HEIC")


def test_image_errors_are_user_errors():
    assert issubclass(ImageError, WsssError)
