"""Reading of images and label maps. Nothing else in the package opens an image file.

Files are decoded according to their content, as one of ``FORMATS`` only: Pillow supports some forty others, most of
them untested on hostile files, and for one of them, EPS, it starts Ghostscript. HEIF, the format of iPhones, is read
where pillow-heif is installed, AVIF unless Pillow was built without it.

Every image is converted to uint8 RGB by these rules:

- EXIF orientation is not applied. The annotations of VOC and COCO, PIL and torchvision's VOCSegmentation refer to the
  stored pixels, and a label map has no EXIF orientation, so a mask matches ``PIL.Image.open(path).convert("RGB")``.
  ``read_orientation`` returns it, and ``data.orientation`` turns images by it. (In TIFF and HEIF the orientation is
  part of the format, and the decoders apply it.)
- 16-bit channels keep their high byte, which scales 0..65535 to 0..255.
- Transparent pixels are composited onto white; the colour stored below them is invisible to viewers.
- Greyscale, palette and CMYK are converted as by PIL. Of an animation the first frame is read.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import stat
import threading
import warnings
from importlib import import_module
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError, features

from ..errors import DataError, ImageError, UsageError
from ..io.extras import install_command
from ..io.source import CredentialsError, Source

_AVIF_SUFFIXES = (".avif",)
_HEIF_SUFFIXES = (".heic", ".heif", ".hif")
_HAS_AVIF = bool(features.check("avif"))
try:
    import pillow_heif
except ImportError:
    _HAS_HEIF = False
else:
    _HAS_HEIF = True
    pillow_heif.register_heif_opener()

SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"),
    *(_AVIF_SUFFIXES if _HAS_AVIF else ()),
    *(_HEIF_SUFFIXES if _HAS_HEIF else ()),
)
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", *(["AVIF"] * _HAS_AVIF), *(["HEIF"] * _HAS_HEIF))
"""Formats that Pillow may decode; its JPEG reader includes MPO."""

REMEDIES = {
    **({} if _HAS_AVIF else dict.fromkeys(_AVIF_SUFFIXES, "install a Pillow with AVIF")),
    **({} if _HAS_HEIF else dict.fromkeys(_HEIF_SUFFIXES, install_command("heif"))),
}
"""Suffixes of images that cannot be read here -> what would change that."""

MAX_MEGAPIXELS = 250
"""Default of the largest image; phones take photographs of up to 200 megapixels."""
LIMIT_VARIABLE = "WSSS_SEED_MAX_MEGAPIXELS"
"""Environment variable that sets another limit."""

_SUFFIX = {
    "JPEG": ".jpg",
    "MPO": ".jpg",
    "PNG": ".png",
    "WEBP": ".webp",
    "BMP": ".bmp",
    "TIFF": ".tif",
    "AVIF": ".avif",
    "HEIF": ".heic",
}
_LOSSY = ("JPEG", "MPO", "WEBP", "AVIF", "HEIF")
_STRIP = 2**22  # pixels that are converted to RGB at a time

_ORIENTATION = 0x0112
_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N")

# PIL's warning about very large images would precede our own error, and warnings about damaged metadata are no use.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

# libtiff writes to standard error without naming the file; damaged images are reported by ``_damaged``. Pillow has no
# setting for it. A symbol looked up in Pillow's own module is that of the libtiff it is linked to, bundled or not;
# where it is linked statically (Windows) there is none, and the messages remain.
with contextlib.suppress(AttributeError, OSError, TypeError):
    _set_error_handler = ctypes.CDLL(import_module("PIL._imaging").__file__).TIFFSetErrorHandler
    _set_error_handler.argtypes, _set_error_handler.restype = [ctypes.c_void_p], ctypes.c_void_p
    _set_error_handler(None)


def max_pixels() -> int:
    """The largest number of pixels of an image. Raises UsageError for an unusable value of the environment variable."""
    text = os.environ.get(LIMIT_VARIABLE, "").strip()
    if not text:
        return MAX_MEGAPIXELS * 10**6
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= 10**6):
        raise UsageError(f"{LIMIT_VARIABLE}={text}: expected a number of megapixels, 1 to 1000000")
    return int(text) * 10**6


def _open(path: Path | Source) -> Image.Image:
    """Open an image file: its header is read, its pixels are not. What has no path is read into memory."""
    limit = max_pixels()
    if Image.MAX_IMAGE_PIXELS is not None:  # Pillow's limit for the whole process, half of which only causes a warning
        Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, limit)
    file = BytesIO(content(path)) if isinstance(path, Source) else _checked(path)
    try:
        image = Image.open(file, formats=FORMATS)
    except Image.DecompressionBombError:
        raise _too_large(path) from None
    except UnidentifiedImageError:
        if remedy := REMEDIES.get(path.suffix.casefold()):
            raise ImageError(f"{path}: {path.suffix} images cannot be read here; {remedy}") from None
        known = f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
        raise ImageError(f"{path}: not an image in {known} format, despite its name; save it as PNG") from None
    except OSError as e:
        if e.errno is not None:
            raise ImageError(f"{path}: cannot be read ({e.strerror})") from None
        raise _damaged(path, e) from None
    except Exception as e:  # PIL's parsers raise many types of errors
        raise _damaged(path, e) from None
    if image.width * image.height > limit:
        image.close()
        raise _too_large(path, image.width * image.height)
    return image


def _checked(path: Path) -> Path:
    """A path that can be opened. Raises ImageError."""
    try:
        info = path.stat()
    except OSError as e:
        raise ImageError(f"{path}: cannot be read ({e.strerror or e})") from None
    except ValueError:
        raise ImageError(f"{str(path)!r}: not a file name") from None
    if stat.S_ISDIR(info.st_mode):
        raise ImageError(f"{path}: a folder, not an image; rename it")
    if not stat.S_ISREG(info.st_mode):  # opening a pipe would block
        raise ImageError(f"{path}: not a regular file")
    if info.st_size == 0:
        raise ImageError(f"{path}: empty file; copy the image again")
    return path


# The pixels and the orientation of an image are read one after the other, in the same thread.
_recent = threading.local()


def content(source: Source) -> bytes:
    """The bytes of an image without a path; those of the last one in each thread are kept in memory.

    Raises:
        ImageError: it cannot be read, or is empty.
        DataError: the credentials are missing, wrong or expired, so no image can be read.
    """
    if getattr(_recent, "source", None) != source:
        try:
            found = source.read_bytes()
        except CredentialsError as e:
            raise DataError(f"{source}: cannot be read ({e})") from None
        except OSError as e:
            raise ImageError(f"{source}: cannot be read ({e.strerror or e})") from None
        _recent.source, _recent.content = source, found
    kept: bytes = _recent.content
    if not kept:
        raise ImageError(f"{source}: empty file; copy the image again")
    return kept


def _too_large(path: Path | Source, pixels: int = 0) -> ImageError:
    size = f"{pixels / 1e6:.1f} megapixels" if pixels else "far too many pixels"
    needed = f"{LIMIT_VARIABLE}={-(-pixels // 10**6)}" if pixels else LIMIT_VARIABLE
    return ImageError(
        f"{path}: {size}, more than {max_pixels() // 10**6} megapixels; set the environment variable {needed} to read "
        "it, or downscale it"
    )


def _damaged(path: Path | Source, cause: Exception) -> ImageError:
    if isinstance(cause, MemoryError):
        raise cause  # not the image's fault
    why = " ".join(str(cause).split())[:200] or type(cause).__name__
    return ImageError(f"{path}: damaged or truncated image ({why}); copy or export it again")


def read_rgb(path: Path | Source) -> np.ndarray:
    """Read an image file by the rules of this module.

    Returns:
        uint8 (H, W, 3) RGB, writable, in the stored orientation and size.

    Raises:
        ImageError: not a readable image, or more than ``max_pixels``.
    """
    with _open(path) as image:
        try:
            image.load()
            if image.width * image.height > max_pixels():  # in HEIF the header and the pixels can disagree
                raise _too_large(path, image.width * image.height)
            return _to_rgb(path, image)
        except ImageError:
            raise
        except Exception as e:
            raise _damaged(path, e) from None


def image_size(path: Path | Source) -> tuple[int, int]:
    """Width and height of an image, from its header.

    Raises:
        ImageError: not a readable image, or more than ``max_pixels``.
    """
    with _open(path) as image:
        return image.size


def fitting_suffix(path: Path | Source) -> str:
    """The suffix that matches the content of an image file; in a run folder all are named ``.jpg``.

    Raises:
        ImageError: not a readable image.
    """
    with _open(path) as image:
        return _SUFFIX[image.format or ""]


def reads_alike(path: Path | Source, size: tuple[int, int]) -> bool:
    """Whether every reader gets the same pixels from an image file as ``read_rgb``, with width and height ``size``.

    That is the case for plain RGB and grey files. Readers differ in the treatment of EXIF orientation, transparency,
    animation and other pixel formats, and many cannot read AVIF and HEIF. False for files that cannot be opened.
    """
    try:
        with _open(path) as image:
            return (
                image.format not in ("AVIF", "HEIF")
                and image.mode in ("RGB", "L")
                and image.size == size
                and "transparency" not in image.info
                and (image.format == "MPO" or not getattr(image, "is_animated", False))
                and image.getexif().get(_ORIENTATION, 1) in (0, 1)
            )
    except Exception:  # whatever Pillow raises
        return False


def read_palette(path: Path) -> list[tuple[int, int, int]]:
    """The RGB colours of a palette image; empty for other images.

    Raises:
        ImageError: not a readable image.
    """
    with _open(Path(path)) as image:
        try:
            values = image.getpalette() or []
        except Exception as e:
            raise _damaged(path, e) from None
    return list(zip(values[::3], values[1::3], values[2::3], strict=False))


def _to_rgb(path: Path | Source, image: Image.Image) -> np.ndarray:
    # PIL before version 11 reads 16-bit grey from PNG as "I"; other 32-bit images have no known range.
    if image.mode in _SIXTEEN_BIT or (image.mode == "I" and image.format == "PNG"):
        grey = (np.asarray(image).astype(np.int32) >> 8).clip(0, 255).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, 2)
    if image.mode in ("I", "F", "LAB"):
        kind = "LAB colours" if image.mode == "LAB" else "32-bit pixels"
        raise ImageError(f"{path}: {kind} have no standard conversion to RGB; save it as RGB with 8 bits per channel")
    # In strips, so that a large image is in memory only twice: as Pillow has it, and as the result.
    width, height = image.size
    rows = max(1, _STRIP // width)
    pixels = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        strip = image.crop((0, top, width, bottom))
        if strip.has_transparency_data:
            strip = strip.convert("RGBA")
            white = Image.new("RGBA", strip.size, (255, 255, 255, 255))
            strip = Image.alpha_composite(white, strip)
        pixels[top:bottom] = np.asarray(strip.convert("RGB"))
    return pixels


def read_orientation(path: Path | Source) -> int:
    """The EXIF orientation of an image file, 1..8, by which viewers turn the pixels that ``read_rgb`` returns.

    Raises:
        ImageError: not a readable image.
    """
    with _open(path) as image:
        return exif_orientation(image)


def exif_orientation(image: Image.Image) -> int:
    """The EXIF orientation of a PIL image, 1..8; 1 (upright) without any, or where PIL itself applies it."""
    try:
        # PNG's own getexif decodes the pixels to look for EXIF data behind them.
        found = 1 if image.format in ("TIFF", "HEIF") else Image.Image.getexif(image).get(_ORIENTATION, 1)
    except Exception:  # unreadable EXIF data has no effect
        return 1
    return found if type(found) is int and 1 <= found <= 8 else 1


def _raw_mode(image: Image.Image) -> str:
    """Raw pixel mode of an open, not yet decoded PNG file; empty for other formats."""
    tiles = getattr(image, "tile", None)
    return str(tiles[0][3]) if tiles and image.format == "PNG" else ""


def read_labels(path: Path | Source) -> np.ndarray:
    """Read a label map from a palette or greyscale image: the indices, not the colours of the palette.

    Returns:
        uint8 (H, W), writable: 0 background, 1..K class, 255 ignore, as stored; values are not checked.

    Raises:
        ImageError: not a readable image, or not one 8-bit index per pixel.
    """
    with _open(path if isinstance(path, Source) else Path(path)) as image:
        if image.format in _LOSSY:
            raise ImageError(
                f"{path}: {image.format} does not preserve label values; save label maps as palette or greyscale PNG"
            )
        # PIL scales greyscale of 1, 2 or 4 bits to 0..255; whether that was intended is unknown.
        if image.mode == "1" or (image.mode == "L" and _raw_mode(image) in ("L;2", "L;4")):
            raise ImageError(f"{path}: label values of fewer than 8 bits per pixel are ambiguous; save it with 8 bits")
        if image.mode not in ("P", "L", "I", *_SIXTEEN_BIT):
            raise ImageError(
                f"{path}: a label map must contain class indices, this image contains {image.mode} colours; "
                "save it as palette or greyscale PNG"
            )
        try:
            values = np.array(image)
        except Exception as e:
            raise _damaged(path, e) from None
    if values.dtype != np.uint8:
        if values.min() < 0 or values.max() > 255:
            raise ImageError(f"{path}: label values up to {values.max()}, more than 255; save it with 8 bits")
        values = values.astype(np.uint8)
    return values
