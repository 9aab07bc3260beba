"""Which part of a photo a network sees, and where in its input that part stands: the geometry of preprocessing."""

from __future__ import annotations

from dataclasses import dataclass

from cnncli.backbones import InputSpec

Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels; a pixel's centre is at half its side
Size = tuple[int, int]  # width, height


@dataclass(frozen=True, slots=True)
class Framing:
    """How an upright photo became a network's input: `seen` of the photo fills `filled` of the input, evenly.

    What of the photo lies outside `seen` the network does not see; what of the input lies outside `filled` is padding.
    """

    photo: Size
    input: Size
    seen: Box
    filled: tuple[int, int, int, int]

    @property
    def filled_size(self) -> Size:
        """Width and height of what the photo fills."""
        return self.filled[2] - self.filled[0], self.filled[3] - self.filled[1]

    def to_photo(self, x: float, y: float) -> tuple[float, float]:
        """The place in the photo of a place in the input; padding is outside the photo."""
        return _moved(x, self.filled[::2], self.seen[::2]), _moved(y, self.filled[1::2], self.seen[1::2])

    def to_input(self, x: float, y: float) -> tuple[float, float]:
        """The place in the input of a place in the photo; what the network does not see is outside the input."""
        return _moved(x, self.seen[::2], self.filled[::2]), _moved(y, self.seen[1::2], self.filled[1::2])

    def of_size(self, photo: Size) -> Framing:
        """The same framing of the same photo at another size."""
        across, down = photo[0] / self.photo[0], photo[1] / self.photo[1]
        left, top, right, bottom = self.seen
        return Framing(photo, self.input, (left * across, top * down, right * across, bottom * down), self.filled)


def _moved(at: float, source: tuple[float, ...], target: tuple[float, ...]) -> float:
    return target[0] + (at - source[0]) * (target[1] - target[0]) / (source[1] - source[0])


def framing(photo: Size, spec: InputSpec) -> Framing:
    """How `spec` shows a network an upright photo `(width, height)`.

    `crop`: the largest centred box with the input's proportions; `squash`: all of it, each side scaled on its own;
    `pad`: all of it, aspect kept, in the middle of the input.
    """
    size = (spec.width, spec.height)
    if spec.resize == "crop":
        return Framing(photo, size, _centre(photo, size), (0, 0, *size))
    if spec.resize == "squash":
        return Framing(photo, size, (0, 0, *photo), (0, 0, *size))
    return Framing(photo, size, (0, 0, *photo), _fitted(photo, size))


def _centre(photo: Size, size: Size) -> Box:
    scale = min(photo[0] / size[0], photo[1] / size[1])
    width, height = size[0] * scale, size[1] * scale
    left, top = (photo[0] - width) / 2, (photo[1] - height) / 2
    return left, top, min(left + width, photo[0]), min(top + height, photo[1])


def _fitted(photo: Size, size: Size) -> tuple[int, int, int, int]:
    scale = min(size[0] / photo[0], size[1] / photo[1])
    width, height = max(1, round(photo[0] * scale)), max(1, round(photo[1] * scale))
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    return left, top, left + width, top + height
