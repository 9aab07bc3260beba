"""The picture of an explanation: the photo with what the network sees of it, and a heat map for each class."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from cnncli.framing import Framing
from cnncli.heatmap import colour_bar, framed, overlay
from cnncli.inference.faithfulness import Faithfulness
from cnncli.inference.saliency import Explanation, HeatMap
from cnncli.panels import Panel, Scale, panel_sheet
from cnncli.text import printable

PANEL_PX = 420  # the longer side of the photo in a panel
_BAR_PX = 16
_NAMES = {"gradcam": "Grad-CAM", "occlusion": "Occlusion"}


def explained(explanation: Explanation) -> Image.Image:
    """A panel for the photo and one for each class, mode `RGB`."""
    photo = _fitted(explanation.picture.image)
    seen = explanation.view.of_size(photo.size)
    panels = [Panel(framed(photo, seen), _photo_heading(explanation.view), (_seen_words(explanation.view),))]
    panels += [_class_panel(photo, seen, heat_map, explanation) for heat_map in explanation.heat_maps]
    title = f"{_NAMES[explanation.method]}: where {printable(Path(explanation.model).name)} looks"
    return panel_sheet(title, f"Heat: {printable(explanation.told)}.", panels, _columns(len(panels)))


def _columns(count: int) -> int | None:
    """Two or three panels stand side by side, to be compared; four as two by two."""
    return count if count <= 3 else 2 if count == 4 else None


def class_overlay(explanation: Explanation, heat_map: HeatMap, side_px: int) -> Image.Image:
    """The heat map of one class over the photo alone, its longer side `side_px` pixels."""
    photo = _fitted(explanation.picture.image, side_px)
    seen = explanation.view.of_size(photo.size)
    return overlay(photo, heat_map.values, explanation.grid, seen, max(float(heat_map.values.max()), 0.0), None)


def _fitted(image: Image.Image, side_px: int = PANEL_PX) -> Image.Image:
    """The photo so large that its longer side fits a panel; a tiny one enlarged pixel by pixel."""
    scale = side_px / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.convert("RGB").resize(size, Image.Resampling.NEAREST if scale >= 2 else Image.Resampling.LANCZOS)


def _photo_heading(seen: Framing) -> str:
    return f"The photo, {seen.photo[0]}x{seen.photo[1]} pixels"


def _seen_words(seen: Framing) -> str:
    size = f"{seen.input[0]}x{seen.input[1]} pixels"
    if seen.filled != (0, 0, *seen.input):
        return f"The network sees all of it, in the middle of {size}."
    if seen.seen != (0, 0, *seen.photo):
        return f"The network sees what is in the frame, as {size}; the hatched part it does not see."
    return f"The network sees all of it, as {size}."


def _class_panel(photo: Image.Image, seen: Framing, heat_map: HeatMap, explanation: Explanation) -> Panel:
    prediction, limit = heat_map.prediction, float(heat_map.values.max())
    peak = None if heat_map.peak is None else _scaled(heat_map.peak, explanation.view, seen)
    picture = overlay(photo, heat_map.values, explanation.grid, seen, max(limit, 0.0), peak)
    heading = f"{printable(prediction.image_class.words)}  {_percent(prediction.score)}"
    lines: tuple[str, ...] = ("No place speaks for this class.",)
    if heat_map.peak is not None:
        lines = () if heat_map.faithfulness is None else faithful_words(heat_map.faithfulness)
    return Panel(picture, heading, lines, _scale(explanation, limit))


def _scaled(place: tuple[int, int], of: Framing, to: Framing) -> tuple[int, int]:
    return round(place[0] * to.photo[0] / of.photo[0]), round(place[1] * to.photo[1] / of.photo[1])


def _scale(explanation: Explanation, limit: float) -> Scale | None:
    if limit <= 0:
        return None
    bar = colour_bar(256, _BAR_PX)
    if explanation.method == "occlusion":
        return Scale(bar, "no fall", f"falls by {_points(limit)} if covered")
    return Scale(bar, "nothing", "speaks most for it")


def _points(part: float) -> str:
    return f"{100 * part:.0f} points" if part >= 0.095 else f"{100 * part:.1g} points"


_NOTABLE = 0.01  # of a mean score: less is no difference to speak of


def faithful_words(found: Faithfulness) -> tuple[str, str, str]:
    """What deletion and insertion found, in plain words."""
    passed = sum(gain >= _NOTABLE for gain in found.gains)
    if max(found.gains) <= -_NOTABLE:
        verdict = "worse than chance at both"
    else:
        verdict = ("no better than chance", "better than chance at one of two", "better than chance at both")[passed]
    hidden, shown = map(_percent, (found.deletion, found.insertion))
    by_chance = tuple(map(_percent, (found.random_deletion, found.random_insertion)))
    return (
        f"Hottest hidden first: mean score {hidden} (by chance {by_chance[0]})",
        f"Hottest shown first: mean score {shown} (by chance {by_chance[1]})",
        f"The map is {verdict}.",
    )


def _percent(part: float) -> str:
    return f"{part:.0%}" if part >= 0.0995 else f"{part:.1%}"
