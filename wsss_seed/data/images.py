"""The one reader of images and the one reader of label maps. Nothing else in the package opens an image file.

The content of a file decides how it is decoded, among ``FORMATS`` only: Pillow knows some forty others, most of them
untested on hostile files, and for one of them, EPS, it starts Ghostscript.

Every image becomes uint8 RGB by these rules, whatever its format:

- Pixels are taken as stored: an EXIF orientation is not applied. The annotations of VOC and COCO, PIL and
  torchvision's VOCSegmentation go by the stored pixels, a label map has no EXIF to turn it back, and so a mask always
  has the size of what ``PIL.Image.open(path).convert("RGB")`` gives. (Of TIFF the orientation is part of the format,
  and PIL applies it.) ``is_rotated`` finds the images this concerns, so that the user can be told to turn the pixels
  themselves.
- 16-bit channels keep their high byte, which scales 0..65535 to 0..255.
- Transparent pixels show white; the colour that a file hides below them is not seen by anyone looking at it.
- Greyscale, palette and CMYK are converted as PIL does. Of an animation the first frame is read.
"""

from __future__ import annotations

import contextlib
import ctypes
import stat
import warnings
from importlib import import_module
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from ..errors import ImageError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
"""What Pillow is allowed to decode; its JPEG reader includes MPO."""
MAX_PIXELS = 50_000_000

_SUFFIX = {"JPEG": ".jpg", "MPO": ".jpg", "PNG": ".png", "WEBP": ".webp", "BMP": ".bmp", "TIFF": ".tif"}

_ORIENTATION = 0x0112
_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N")

# PIL's warning about very large images would come before our own error, and remarks on damaged metadata help nobody.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

# libtiff writes to standard error without naming the file; that the image is damaged is what ``_damaged`` says. Pillow
# has no setting for it. A symbol looked up in Pillow's own module is that of the libtiff it is linked to, bundled or
# not; where it is linked statically (Windows) there is none to be found, and the messages stay.
with contextlib.suppress(AttributeError, OSError, TypeError):
    _set_error_handler = ctypes.CDLL(import_module("PIL._imaging").__file__).TIFFSetErrorHandler
    _set_error_handler.argtypes, _set_error_handler.restype = [ctypes.c_void_p], ctypes.c_void_p
    _set_error_handler(None)


def _open(path: Path) -> Image.Image:
    """Open an image file: its header is read, its pixels are not."""
    try:
        info = path.stat()
    except OSError as e:
        raise ImageError(f"{path}: cannot be read ({e.strerror or e})") from None
    except ValueError:
        raise ImageError(f"{str(path)!r}: not a file name") from None
    if stat.S_ISDIR(info.st_mode):
        raise ImageError(f"{path}: a folder, not an image; rename it")
    if not stat.S_ISREG(info.st_mode):  # opening a pipe would wait for ever
        raise ImageError(f"{path}: not a regular file")
    if info.st_size == 0:
        raise ImageError(f"{path}: empty file; copy the image again")
    try:
        image = Image.open(path, formats=FORMATS)
    except Image.DecompressionBombError:
        raise _too_large(path) from None
    except UnidentifiedImageError:
        known = f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
        raise ImageError(f"{path}: not an image in {known} format, whatever its name says; save it as PNG") from None
    except OSError as e:
        if e.errno is not None:
            raise ImageError(f"{path}: cannot be read ({e.strerror})") from None
        raise _damaged(path, e) from None
    except Exception as e:  # PIL's parsers let errors of many types through
        raise _damaged(path, e) from None
    if image.width * image.height > MAX_PIXELS:
        image.close()
        raise _too_large(path, image.width * image.height)
    return image


def _too_large(path: Path, pixels: int = 0) -> ImageError:
    size = f"{pixels / 1e6:.1f} megapixels" if pixels else "far too many pixels"
    return ImageError(f"{path}: {size}, more than {MAX_PIXELS // 10**6} megapixels; shrink it or cut it into tiles")


def _damaged(path: Path, cause: Exception) -> ImageError:
    if isinstance(cause, MemoryError):
        raise cause  # which says nothing about the image
    why = " ".join(str(cause).split())[:200] or type(cause).__name__
    return ImageError(f"{path}: damaged or truncated image ({why}); copy or export it again")


def read_rgb(path: Path) -> np.ndarray:
    """Read an image file by the rules of this module.

    Returns:
        uint8 (H, W, 3) RGB, writable, in the orientation and size in which the file stores it.

    Raises:
        ImageError: not a readable image, or more than 50 megapixels.
    """
    path = Path(path)
    with _open(path) as image:
        try:
            image.load()
            return _to_rgb(path, image)
        except ImageError:
            raise
        except Exception as e:
            raise _damaged(path, e) from None


def image_size(path: Path) -> tuple[int, int]:
    """Width and height of an image, from its header.

    Raises:
        ImageError: not a readable image, or more than 50 megapixels.
    """
    with _open(Path(path)) as image:
        return image.size


def fitting_suffix(path: Path) -> str:
    """The suffix that fits the content of an image file; a run folder calls all of them ``.jpg``.

    Raises:
        ImageError: not a readable image.
    """
    with _open(Path(path)) as image:
        return _SUFFIX[image.format or ""]


def reads_alike(path: Path, size: tuple[int, int]) -> bool:
    """Whether every reader sees in an image file the pixels that ``read_rgb`` gives, width and height ``size``.

    So it is with plain RGB and grey files. Readers differ in what they make of an EXIF orientation, of transparency, of
    an animation and of other kinds of pixels. What cannot be opened plainly is not read alike either.
    """
    try:
        with _open(Path(path)) as image:
            return (
                image.mode in ("RGB", "L")
                and image.size == size
                and "transparency" not in image.info
                and (image.format == "MPO" or not getattr(image, "is_animated", False))
                and image.getexif().get(_ORIENTATION, 1) in (0, 1)
            )
    except Exception:  # whatever Pillow raises
        return False


def read_palette(path: Path) -> list[tuple[int, int, int]]:
    """The RGB colours of a palette image, none of any other image.

    Raises:
        ImageError: not a readable image.
    """
    with _open(Path(path)) as image:
        try:
            values = image.getpalette() or []
        except Exception as e:
            raise _damaged(path, e) from None
    return list(zip(values[::3], values[1::3], values[2::3], strict=False))


def _to_rgb(path: Path, image: Image.Image) -> np.ndarray:
    # PIL before version 11 reads 16-bit grey from PNG as "I"; other 32-bit images have no known range.
    if image.mode in _SIXTEEN_BIT or (image.mode == "I" and image.format == "PNG"):
        grey = (np.asarray(image).astype(np.int32) >> 8).clip(0, 255).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, 2)
    if image.mode in ("I", "F", "LAB"):
        kind = "LAB colours" if image.mode == "LAB" else "32-bit pixels"
        raise ImageError(f"{path}: {kind} have no agreed conversion to RGB; save it with 8 bits a channel in RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return np.array(image.convert("RGB"))


def is_rotated(path: Path) -> bool:
    """Whether viewers turn or mirror the image by its EXIF orientation, which ``read_rgb`` does not.

    Raises:
        ImageError: not a readable image.
    """
    with _open(Path(path)) as image:
        try:
            return image.format != "TIFF" and image.getexif().get(_ORIENTATION, 1) not in (0, 1)
        except Exception:  # unreadable EXIF data turns nothing
            return False


def _raw_mode(image: Image.Image) -> str:
    """How the pixels lie in a PNG file that is open and not yet decoded; empty for other formats."""
    tiles = getattr(image, "tile", None)
    return str(tiles[0][3]) if tiles and image.format == "PNG" else ""


def read_labels(path: Path) -> np.ndarray:
    """Read a label map from a palette or greyscale image: always the indices, never the colours they stand for.

    Returns:
        uint8 (H, W), writable: 0 background, 1..K class, 255 ignore, as stored; which values occur is not checked.

    Raises:
        ImageError: not a readable image, or one that does not hold one index of 8 bits for each pixel.
    """
    path = Path(path)
    with _open(path) as image:
        if image.format in ("JPEG", "MPO", "WEBP"):
            raise ImageError(f"{path}: {image.format} blurs label values; save label maps as palette or greyscale PNG")
        # PIL stretches greyscale of 1, 2 or 4 bits to 0..255; whether its writer meant that cannot be known.
        if image.mode == "1" or (image.mode == "L" and _raw_mode(image) in ("L;2", "L;4")):
            raise ImageError(f"{path}: fewer than 8 bits a pixel leave the label values open; save it with 8 bits")
        if image.mode not in ("P", "L", "I", *_SIXTEEN_BIT):
            raise ImageError(
                f"{path}: a label map must hold class numbers, this image holds {image.mode} colours; "
                "save it as palette or greyscale PNG"
            )
        try:
            values = np.array(image)
        except Exception as e:
            raise _damaged(path, e) from None
    if values.dtype != np.uint8:
        if values.min() < 0 or values.max() > 255:
            raise ImageError(f"{path}: label values up to {values.max()}, more than 255; save a label map of 8 bits")
        values = values.astype(np.uint8)
    return values
