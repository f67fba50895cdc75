"""Lines over time, as small drawings in SVG."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs

#: In units of the drawing, which the style sheet stretches.
WIDTH: Final = 240
HEIGHT: Final = 48
_MARGIN: Final = 2


@attrs.frozen
class Chart:
    """A line, and the area below it, as the `d` of two paths; empty where there is too little."""

    line: str
    area: str
    #: The highest value, that is at the top.
    highest: float
    #: The latest.
    latest: float | None


def chart(points: Sequence[tuple[float, float | None]], length: float, now: float) -> Chart:
    """Draw points, each a time in seconds and a value, over the last `length` seconds.

    Where a value is `None` there is a gap. From one to the next is a straight line.
    """
    values = [value for _, value in points if value is not None]
    highest = max(values, default=0.0)
    latest = points[-1][1] if points else None
    scale = (HEIGHT - 2 * _MARGIN) / (highest or 1.0)
    lines: list[str] = []
    areas: list[str] = []
    run: list[tuple[float, float]] = []
    for at, value in [*points, (now, None)]:
        if value is not None:
            x = WIDTH * (1 - (now - at) / length)
            run.append((x, HEIGHT - _MARGIN - value * scale))
            continue
        if len(run) > 1:
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in run)
            lines.append(f"M{path}")
            areas.append(f"M{run[0][0]:.1f},{HEIGHT} L{path} L{run[-1][0]:.1f},{HEIGHT} Z")
        run = []
    return Chart(" ".join(lines), " ".join(areas), highest, latest)
