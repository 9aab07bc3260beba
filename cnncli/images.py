"""The one reader of images: bytes in, the picture as it is displayed out, and from it the pixels of a network.

Formats are allow-listed and decided by content. Nothing here writes to a file.
"""

from __future__ import annotations

import contextlib
import importlib
import re
import struct
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from cnncli.backbones import InputSpec
from cnncli.errors import ImageError
from cnncli.framing import Framing, framing
from cnncli.imagekinds import not_an_image, sniff

if TYPE_CHECKING:
    from cnncli.sources import Source

MAX_PIXELS = 178_956_970  # twice Pillow's own limit, where it speaks of a decompression bomb
BACKGROUND = (255, 255, 255)  # white: what transparent pixels are laid on
PADDING = (124, 116, 104)  # ImageNet's mean colour: the network sees about zero
# A JPEG is decoded at 1/2, 1/4 or 1/8 where that leaves at least this many times the wanted side: the smaller
# decoding is a box filter of the same pixels and the antialiased resize does the rest.
DECODE_MARGIN = 2
_STRIP_PX = 256  # rows that are laid on the background at a time
_LARGE_PIXELS = 40_000_000  # more than cameras make: such a picture is decoded alone, however many threads there are

# What the decoders raised on hundreds of thousands of damaged files; NotImplementedError is a RuntimeError.
_DECODE_ERRORS = (
    OSError, SyntaxError, ValueError,  # all formats
    AssertionError,  # a PNG whose palette is missing
    RuntimeError, ArithmeticError,  # AVIF, and offsets in a TIFF
    TypeError,  # TIFF tags of a wrong type
    IndexError,  # a GIF cut in its second frame
    EOFError,  # HEIC
    struct.error,  # EXIF
    Image.DecompressionBombError,
)  # fmt: skip
_PLUGINS = {"WEBP": "WebP", "TIFF": "Tiff", "AVIF": "Avif"}  # those that Pillow does not import for itself
_ORIENTATION_TAG = 0x0112
_BITS_TAG, _PHOTOMETRIC_TAG, _SAMPLE_FORMAT_TAG = 258, 262, 339  # of TIFF 6.0
_WHITE_IS_ZERO = 0
_TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = {_TRANSPOSITIONS[orientation] for orientation in (5, 6, 7, 8)}
_GRAY_MODES = ("1", "L", "LA", "La")

_large = threading.Lock()


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded image as a viewer displays it, upright: mode `RGB` or `L`, or `I;16` where depth was to be kept."""

    image: Image.Image
    notes: tuple[str, ...] = ()  # what the user should know about how it was read
    icc_profile: bytes | None = None  # the one in the file, if it is for the mode of `image`
    alpha: Image.Image | None = None  # its transparency, mode `L`, where that was to be kept


def read(
    source: Source, *, shorter_side_px: int | None = None, max_pixels: int = MAX_PIXELS, keep: bool = False
) -> Picture:
    """Reads an image as a viewer displays it, first frame only.

    With `shorter_side_px` a JPEG may come at a reduced scale, never below `DECODE_MARGIN` times that side. `keep`
    leaves transparency beside the picture instead of laying it on white, and 16-bit grey at 16 bits. Raises
    ImageError with the reason, whatever is wrong with the file.
    """
    with _opened(source, max_pixels) as image:
        return _decode(image, shorter_side_px, keep)


@dataclass(frozen=True, slots=True)
class Header:
    """What is known of an image before it is decoded: its displayed size, and whether it is stored in grey."""

    width: int
    height: int
    gray: bool


def probe(source: Source, *, max_pixels: int = MAX_PIXELS) -> Header:
    """Reads an image as far as its header. Raises ImageError like `read`, for what a header shows."""
    with _opened(source, max_pixels) as image:
        width, height = image.size
        already_turned = _ORIENTATION_TAG in getattr(image, "tag_v2", {})  # of a TIFF Pillow gives the displayed size
        # last, because a PNG that may have it behind its pixels is decoded for it
        if width != height and not already_turned and _transposition(image) in _SIDEWAYS:
            width, height = height, width
        return Header(width, height, image.mode in _GRAY_MODES or image.mode.startswith(("I", "F")))


@contextlib.contextmanager
def _opened(source: Source, max_pixels: int) -> Iterator[Image.Image]:
    """The image with its header read. What goes wrong here or in the block is an ImageError."""
    with source.open() as file:
        try:
            head = file.read(1024)
            name = sniff(head)
            if name is None:
                raise ImageError(not_an_image(head))
            _load_decoder(name)
            file.seek(0)
            # Pillow's own guard, which raises at twice its limit, stays for what it alone sees; it never goes below
            # the default, because it also stands before the drawing of text.
            Image.MAX_IMAGE_PIXELS = max(max_pixels, MAX_PIXELS)
            warnings.filterwarnings("ignore", module="PIL")  # on metadata that a good picture does not need
            with Image.open(file, formats=(name,)) as image:
                if image.width * image.height > max_pixels:
                    raise ImageError(_too_many_pixels(image.width * image.height, max_pixels))
                yield image
        except MemoryError as problem:
            raise ImageError("not enough memory to decode it") from problem
        except _DECODE_ERRORS as problem:
            raise ImageError(_decode_fault(problem, max_pixels)) from problem


def _decode(image: Image.Image, shorter_side_px: int | None, keep: bool) -> Picture:
    if image.format in ("JPEG", "MPO") and shorter_side_px is not None:
        scale = DECODE_MARGIN * shorter_side_px / min(image.size)
        if scale < 1:
            image.draft(None, (round(image.width * scale), round(image.height * scale)))
    # The order matters: after an error that was caught, Pillow returns a half-decoded picture as good.
    with _large if image.width * image.height > _LARGE_PIXELS else contextlib.nullcontext():
        notes = _depth_notes(image) if keep else ()
        image.load()
        colours, alpha = _kept(image) if keep else (_opaque(image), None)
        picture = _upright(image, _on_canvas(image, colours))
        alpha = None if alpha is None else _upright(image, alpha)
    profile = image.info.get("icc_profile")
    return Picture(picture, notes + _notes(image), profile if _fits(profile, picture) else None, alpha)


def _fits(profile: object, image: Image.Image) -> bool:
    """Whether a colour profile is one for the mode of `image`: bytes 16 to 19 name its colour space."""
    space = {"L": b"GRAY", "I;16": b"GRAY", "RGB": b"RGB "}[image.mode]
    return isinstance(profile, bytes) and profile[16:20] == space


def _load_decoder(name: str) -> None:
    """Imports the one decoder that is needed: Pillow's own look-up would import all of them."""
    if name == "HEIF":
        try:
            import pillow_heif
        except ImportError as problem:
            raise ImageError("HEIC needs an extra: pip install 'cnncli[heif]'") from problem
        pillow_heif.register_heif_opener()
        return
    if name in _PLUGINS:
        plugin = importlib.import_module(f"PIL.{_PLUGINS[name]}ImagePlugin")
        if not getattr(plugin, "SUPPORTED", True):
            raise ImageError(f"this Pillow has no {name} decoder: pip install --upgrade pillow")


def _upright(image: Image.Image, opaque: Image.Image) -> Image.Image:
    """`opaque` as the EXIF orientation of `image` turns it."""
    transposition = _transposition(image)
    return opaque if transposition is None else opaque.transpose(transposition)


def _transposition(image: Image.Image) -> Image.Transpose | None:
    """What turns an image upright. Pillow turns a TIFF when it loads it, which then has no tag."""
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG)
    except _DECODE_ERRORS:  # damaged metadata around a good picture
        return None
    return _TRANSPOSITIONS.get(orientation) if isinstance(orientation, int) else None


def _notes(image: Image.Image) -> tuple[str, ...]:
    """What is said about an image of which only a part is used. A broken second frame is no fault of the first."""
    if image.format not in ("GIF", "PNG", "WEBP", "AVIF", "TIFF"):  # the others hold the same picture in other sizes
        return ()
    try:
        more = bool(getattr(image, "is_animated", False))
    except _DECODE_ERRORS:
        more = False
    what = "several pages: only the first" if image.format == "TIFF" else "animated: only its first frame"
    return (f"{what} is used",) if more else ()


def _on_canvas(image: Image.Image, opaque: Image.Image) -> Image.Image:
    """Makes what lies outside the first frame of a GIF background, which is what viewers show there."""
    box = getattr(image, "dispose_extent", None)
    if box is None or tuple(box) == (0, 0, *image.size):
        return opaque
    canvas = Image.new("RGB", image.size, BACKGROUND)
    canvas.paste(opaque.crop(box), box)
    return canvas


def _opaque(image: Image.Image) -> Image.Image:
    """The picture in mode `L` or `RGB`, 8 bits a channel, transparent parts on white."""
    if image.mode.startswith(("I", "F")):
        return _eight_bits(image)
    if image.mode in ("L", "RGB") and "transparency" not in image.info:
        return image  # loaded: its pixels outlive the file
    if image.mode == "1":
        return image.convert("L")
    if image.has_transparency_data:
        return _on_background(image)
    return image.convert("RGB")


def _kept(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Colours in mode `L`, `RGB` or `I;16`, and transparency in mode `L` or None."""
    if image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.uint16)
        white_is_zero = _tiff_tag(image, _PHOTOMETRIC_TAG) == _WHITE_IS_ZERO
        return Image.fromarray(0xFFFF - values if white_is_zero else values), None
    if not image.has_transparency_data:
        return _opaque(image), None
    gray = image.mode in ("L", "LA", "La")
    both = image.convert("RGBA")
    return both.convert("L" if gray else "RGB"), both.getchannel("A")


def _depth_notes(image: Image.Image) -> tuple[str, ...]:
    """What Pillow is about to make of more than 8 bits a channel, which only the decoder's arguments tell."""
    deep = any(";16" in str(tile[3]) for tile in getattr(image, "tile", ()))
    lost = deep and not image.mode.startswith(("I", "F"))
    return ("16 bits a channel in colour or with transparency are read as 8",) if lost else ()


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 bits as value / 257, of 32 bits as value / 16843009; floating point is 0..1 or 0..255.

    32 bits that hold no value above 65535 count as 16, and none above 255 as 8: programs store such pictures so.
    """
    values, white = _samples(image)
    low, high = values.min(), values.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ImageError("it has pixels that are not numbers (NaN or infinite)")
    if low < 0 or high > white:
        raise ImageError(f"its pixels range from {low} to {high}; expected 0..1, 0..255 or integers")
    pixels = np.rint(np.multiply(values, 255 / white, dtype=np.float32)).astype(np.uint8)
    if isinstance(transparent := image.info.get("transparency"), int):  # the one grey that a PNG makes transparent
        pixels[values == transparent] = BACKGROUND[0]
    return Image.fromarray(255 - pixels if _tiff_tag(image, _PHOTOMETRIC_TAG) == _WHITE_IS_ZERO else pixels)


def _samples(image: Image.Image) -> tuple[np.ndarray[tuple[int, ...], np.dtype[Any]], float]:
    """Grey values of shape `(height, width)` and the value that stands for white."""
    values = np.asarray(image)
    if image.mode == "F":
        return values, 1.0 if values.max(initial=0) <= 1 else 255.0
    if image.mode != "I":
        return values, 2 ** _tiff_tag(image, _BITS_TAG, 16) - 1
    if _tiff_tag(image, _SAMPLE_FORMAT_TAG, 1) == 1:
        values = values.view(np.uint32)  # Pillow's mode I is signed, the file is not
    return values, next(white for white in (0xFF, 0xFFFF, 0xFFFFFFFF) if values.max(initial=0) <= white)


def _tiff_tag(image: Image.Image, tag: int, default: int = -1) -> int:
    value = getattr(image, "tag_v2", {}).get(tag, default)
    return int(value[0] if isinstance(value, tuple) else value)


def _on_background(image: Image.Image) -> Image.Image:
    """The picture laid on white, in strips: a palette picture of a few kB may have 170 megapixels."""
    canvas = Image.new("RGB", image.size, BACKGROUND)
    visible = False
    for top in range(0, image.height, _STRIP_PX):
        strip = image.crop((0, top, image.width, min(top + _STRIP_PX, image.height))).convert("RGBA")
        visible = visible or strip.getchannel("A").getbbox() is not None
        canvas.paste(strip, (0, top), mask=strip)
    if not visible:
        raise ImageError("every pixel is transparent: there is nothing to see")
    return canvas


def network_input(picture: Picture, spec: InputSpec) -> np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]:
    """The pixels that a network sees: uint8 of shape `(height, width, channels)`, values 0..255.

    `crop` scales the picture, aspect kept, until it covers the input and takes the centre; `pad` scales it until it
    fits and fills up with ImageNet's mean colour; `squash` scales both sides on their own. All of them antialias.
    """
    mode = "L" if spec.color == "gray" else "RGB"
    image = picture.image if picture.image.mode == mode else picture.image.convert(mode)
    shown = framing(image.size, spec)
    image = _resized(image, shown.filled_size, shown.seen)
    if image.size != shown.input:
        image = _padded(image, shown)
    pixels = np.asarray(image)
    return pixels[:, :, np.newaxis] if spec.color == "gray" else pixels


def _resized(image: Image.Image, size: tuple[int, int], box: tuple[float, float, float, float]) -> Image.Image:
    """`box` of an image at another size, the filter's support grown by the reduction so that nothing aliases.

    To shrink, Pillow's Hamming filter: as sharp as its bicubic one, half as wide and so twice as fast. It has no
    quality when it enlarges; there the bicubic one serves (https://pillow.readthedocs.io, "Filters").
    """
    if size == image.size and box == (0, 0, *size):
        return image
    shrinks = box[2] - box[0] >= size[0] and box[3] - box[1] >= size[1]
    return image.resize(size, Image.Resampling.HAMMING if shrinks else Image.Resampling.BICUBIC, box=box)


def _padded(image: Image.Image, shown: Framing) -> Image.Image:
    colour = PADDING if image.mode == "RGB" else round(sum(PADDING) / 3)
    canvas = Image.new(image.mode, shown.input, colour)
    canvas.paste(image, shown.filled[:2])
    return canvas


def _decode_fault(problem: BaseException, max_pixels: int) -> str:
    text = " ".join(str(problem).split())
    if isinstance(problem, Image.DecompressionBombError):
        return _too_many_pixels(int(re.findall(r"\d+", text)[0]), max_pixels)
    if isinstance(problem, UnidentifiedImageError):
        return "the file is damaged or truncated, or of a kind that is not supported: its header cannot be read"
    if isinstance(problem, OSError) and problem.strerror:
        return problem.strerror.lower()
    if re.search("truncat|unexpected end|not processed", text, re.IGNORECASE):
        return "the file is truncated (an interrupted copy or download?)"
    return f"the file is damaged or truncated ({text[:200] or type(problem).__name__})"


def _too_many_pixels(pixels: int, max_pixels: int) -> str:
    return f"{_megapixels(pixels)}, the limit is {_megapixels(max_pixels)}; predict and filter have --max-pixels"


def _megapixels(pixels: int) -> str:
    return f"{pixels / 1e6:,.3f}".rstrip("0").rstrip(".") + " megapixels" if pixels >= 1e4 else f"{pixels:,} pixels"
