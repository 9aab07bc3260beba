"""The report's diagrams as inline SVG: training curves, reliability. Colours come from the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cnncli.evaluation.markup import Markup, element, joined
from cnncli.evaluation.metrics import Bin
from cnncli.history import EpochRow

_WIDTH, _HEIGHT = 420.0, 280.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 54.0, 18.0, 14.0, 38.0  # around the panel, for the scales
_TICKS = 5  # about so many on a scale
_FEW = 40  # up to so many epochs each has a dot
_LOG_FROM = 30.0  # a loss that falls to less than a thirtieth of itself is drawn on a logarithmic scale
_COUNTS_PX = 46.0  # height of the panel of counts below the reliability diagram


@dataclass(frozen=True, slots=True)
class _Panel:
    """A rectangle and what its sides stand for."""

    x_from: float
    x_to: float
    y_from: float
    y_to: float
    height: float = _HEIGHT - _TOP - _BOTTOM
    log: bool = False  # whether the vertical scale is logarithmic

    @property
    def bottom(self) -> float:
        return _TOP + self.height

    def x(self, value: float) -> float:
        return _LEFT + (value - self.x_from) / (self.x_to - self.x_from) * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        low, high, at = (math.log(v) if self.log else v for v in (self.y_from, self.y_to, value))
        return self.bottom - (at - low) / (high - low) * self.height


def curves(rows: Sequence[EpochRow], what: str, best_epoch: int) -> Markup:
    """`what`, "loss" or "accuracy", over the epochs: of training and, dashed, of validation; the best is marked."""
    series = {name: _points(rows, column) for name, column in (("train", what), ("val", f"val_{what}"))}
    values = [value for points in series.values() for _, value in points] or [0.0]
    panel = _panel_for(values, rows, percent=what == "accuracy")
    figure: Callable[[float], str] = (lambda value: f"{value:.0%}") if what == "accuracy" else (lambda v: f"{v:g}")
    marked = dict(series["val"] or series["train"]).get(best_epoch)
    best = [] if marked is None else [_best(panel, best_epoch, marked)]
    return _svg(
        f"{what} over {len(rows)} epochs",
        _horizontal(panel, _log_ticks(panel) if panel.log else ticks(panel.y_from, panel.y_to), figure),
        _vertical(panel, [at for at in ticks(panel.x_from, panel.x_to) if at >= 1 and at == round(at)], "epoch"),
        *(_curve(panel, name, points) for name, points in series.items() if points),
        *best,
    )


def _points(rows: Sequence[EpochRow], column: str) -> list[tuple[int, float]]:
    found = ((row.epoch, getattr(row, column)) for row in rows)
    return [(epoch, value) for epoch, value in found if value is not None and math.isfinite(value)]


def _panel_for(values: Sequence[float], rows: Sequence[EpochRow], *, percent: bool) -> _Panel:
    first, last = rows[0].epoch, rows[-1].epoch
    beside = max(0.5, 0.02 * (last - first))
    low, high = min(values), max(values)
    if not percent and low > 0 and high > _LOG_FROM * low:
        return _Panel(first - beside, last + beside, low / 1.2, high * 1.2, log=True)
    margin = 0.08 * (high - low) or 0.05 * (abs(high) or 1)
    low, high = max(0.0, low - margin), high + margin
    return _Panel(first - beside, last + beside, low, min(1.0, high) if percent else high)


def _curve(panel: _Panel, name: str, points: Sequence[tuple[int, float]]) -> Markup:
    places = [(panel.x(epoch), panel.y(value)) for epoch, value in points]
    line = element("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in places), class_=f"line {name}")
    dots = places if len(places) <= _FEW else []
    return joined([line, *(element("circle", cx=x, cy=y, r=2.6, class_=f"dot {name}") for x, y in dots)])


def _best(panel: _Panel, epoch: int, value: float) -> Markup:
    x, y = panel.x(epoch), panel.y(value)
    return joined(
        [
            element("line", x1=x, x2=x, y1=_TOP, y2=panel.bottom, class_="best"),
            element("path", d=f"M{x:.1f} {y - 6:.1f}l6 6l-6 6l-6-6z", class_="diamond"),
        ]
    )


def reliability(bins: Sequence[Bin]) -> Markup:
    """How often answers are right by how sure the model was, with the diagonal of honest scores; counts below."""
    panel = _Panel(0, 1, 0, 1, height=_HEIGHT - _TOP - _BOTTOM)
    low = _HEIGHT + _COUNTS_PX
    most = max((each.count for each in bins), default=0) or 1
    return _svg(
        "Accuracy by score, in bins",
        _horizontal(panel, [0, 0.25, 0.5, 0.75, 1], lambda value: f"{value:.0%}"),
        *(_bar(panel, each) for each in bins if each.count),
        element("line", x1=panel.x(0), y1=panel.y(0), x2=panel.x(1), y2=panel.y(1), class_="diagonal"),
        *(_mean_score(panel, each) for each in bins if each.count),
        _vertical(panel, [0, 0.25, 0.5, 0.75, 1], "score of the answer", lambda value: f"{value:.0%}"),
        *(_count(panel, each, most, low) for each in bins if each.count),
        element("text", "images", x=_LEFT - 6, y=low - 2, class_="tick end"),
        height=low + 4,
    )


def _bar(panel: _Panel, each: Bin) -> Markup:
    left, width = panel.x(each.low) + 1, panel.x(each.high) - panel.x(each.low) - 2
    top = panel.y(each.accuracy)
    told = element(
        "title",
        f"scores {each.low:.0%} to {each.high:.0%}: {each.count:,} images, "
        f"mean score {each.score:.1%}, right {each.accuracy:.1%}",
    )
    return element("rect", told, x=left, y=top, width=width, height=panel.bottom - top, class_="bar")


def _mean_score(panel: _Panel, each: Bin) -> Markup:
    y = panel.y(each.score)
    return element("line", x1=panel.x(each.low) + 1, x2=panel.x(each.high) - 1, y1=y, y2=y, class_="said")


def _count(panel: _Panel, each: Bin, most: int, bottom: float) -> Markup:
    left, width = panel.x(each.low) + 1, panel.x(each.high) - panel.x(each.low) - 2
    height = max(1.0, (_COUNTS_PX - 16) * each.count / most)
    text = element("text", _short(each.count), x=left + width / 2, y=bottom - height - 3, class_="count")
    return joined([element("rect", x=left, y=bottom - height, width=width, height=height, class_="much"), text])


def _short(count: int) -> str:
    """A count in at most four characters."""
    if count < 10_000:
        return str(count)
    return f"{count / 1e3:.0f}k" if count < 999_500 else f"{count / 1e6:.1f}M"


def ticks(low: float, high: float) -> list[float]:
    """Round numbers from `low` to `high`, about five, at steps of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * times for times in (1, 2, 5, 10) if power * times >= rough * 0.999)
    digits = max(0, -math.floor(math.log10(step)))
    return [round(step * n, digits) for n in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _log_ticks(panel: _Panel) -> list[float]:
    """1, 2 and 5 times powers of ten; of very many only the powers."""
    powers = range(math.floor(math.log10(panel.y_from)), math.ceil(math.log10(panel.y_to)) + 1)
    times = (1, 2, 5) if len(powers) <= 4 else (1,)
    found = (float(f"{digit}e{power}") for power in powers for digit in times)
    return [value for value in found if panel.y_from <= value <= panel.y_to]


def _horizontal(panel: _Panel, values: Sequence[float], figure: Callable[[float], str]) -> Markup:
    """Lines across the panel, with their figures at its left."""
    return joined(
        joined(
            [
                element("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=panel.y(value), y2=panel.y(value), class_="grid"),
                element("text", figure(value), x=_LEFT - 6, y=panel.y(value) + 4, class_="tick end"),
            ]
        )
        for value in values
    )


def _vertical(
    panel: _Panel, values: Sequence[float], name: str, figure: Callable[[float], str] = lambda value: f"{value:g}"
) -> Markup:
    """The figures below the panel, and what they are."""
    y = panel.bottom + 16
    figures = (element("text", figure(value), x=panel.x(value), y=y, class_="tick middle") for value in values)
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    return joined([*figures, element("text", name, x=middle, y=y + 16, class_="tick middle")])


def _svg(name: str, *content: str, height: float = _HEIGHT) -> Markup:
    return element(
        "svg", element("title", name), *content, viewBox=f"0 0 {_WIDTH:g} {height:g}", role="img", class_="chart"
    )
