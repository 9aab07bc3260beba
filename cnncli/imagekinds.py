"""The image formats that are read, told by how a file begins and not by its name; and what other files are."""

from __future__ import annotations

import re

EXTENSIONS = frozenset(
    ".jpg .jpeg .jpe .jfif .png .apng .gif .bmp .dib .webp .tif .tiff .avif .heic .heif .hif .mpo".split()
)
_SIGNATURES = (
    (rb"\xff\xd8\xff", "JPEG"),
    (rb"\x89PNG\r\n\x1a\n", "PNG"),
    (rb"GIF8[79]a", "GIF"),
    (rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0", "BMP"),  # with the size of its second header
    (rb"RIFF....WEBP", "WEBP"),
    (rb"II[*+]\0|MM\0[*+]", "TIFF"),
    (rb"....ftyp(?:....){0,13}?avi[fs]", "AVIF"),  # its first brand may also be mif1, as in HEIC
    (rb"....ftyp(?:hei[cmsx]|hev[cmsx]|mif1|msf1)", "HEIF"),
)
_OTHER_CONTENT = (  # what a file that is no image turns out to be
    (rb"(?:\xef\xbb\xbf)?\s*(?:<!--.*?-->\s*)*<(?:!doctype html|html)", "an HTML page"),
    (
        rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*(?:<!doctype svg|<svg)",
        "an SVG drawing, which has no pixels",
    ),
    (rb"version https://git-lfs", "a Git LFS pointer; run 'git lfs pull'"),
    (rb"\0\x05\x16\x07", "macOS metadata (AppleDouble)"),
    (rb"%PDF", "a PDF"),
    (rb"%!PS|\xc5\xd0\xd3\xc6", "PostScript (EPS), which is not accepted"),
    (rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf", "an archive; unpack it first"),
    (rb"\xff\x0a|\0\0\0\x0cJXL ", "JPEG XL, which is not accepted"),
    (rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", "JPEG 2000, which is not accepted"),
    (rb"8BPS", "a Photoshop file; export it as PNG"),
    (rb"....ftyp|\x1aE\xdf\xa3", "a video; extract a frame first"),
    (rb"[\t\n\r\x20-\x7e]+\Z", "text"),
)


def sniff(head: bytes) -> str | None:
    """The image format that a file beginning with `head` (64 bytes suffice) has, or None."""
    return next((name for pattern, name in _SIGNATURES if re.match(pattern, head, re.DOTALL)), None)


def not_an_image(head: bytes) -> str:
    """What is said of a file that begins with `head` and has none of these formats."""
    if not head:
        return "the file is empty"
    found = next((what for pattern, what in _OTHER_CONTENT if re.match(pattern, head, re.DOTALL | re.I)), None)
    accepted = "expected JPEG, PNG, WebP, GIF, TIFF, BMP, AVIF or HEIC"
    return f"not an image: this is {found}; {accepted}" if found else f"not an image that is accepted; {accepted}"
