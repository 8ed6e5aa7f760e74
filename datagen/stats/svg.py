"""The style of the plots, and their conversion to SVG that is safe in a page.

Matplotlib is used without pyplot.
"""

from __future__ import annotations

import contextlib
import html
import io
import re
import unicodedata
import warnings
from collections.abc import Iterator
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

WIDTH = 4.2  # inches, 403 px of a page; at 320 px the letters are still 9 px high
LEFT, BOTTOM = 0.6, 0.5  # inches beside and below the axes
# Okabe and Ito's palette, safe for colour-blind readers
BLUE, SKY, ORANGE, RED, PURPLE = "#0072B2", "#56B4E9", "#E69F00", "#D55E00", "#CC79A7"
GREY, PALE = "#666666", "#EEEEEE"
STYLE: dict[Any, Any] = {
    "axes.edgecolor": GREY,
    "axes.spines.right": False,
    "axes.spines.top": False,
    # comes with Matplotlib; the fallback of browsers is not wider
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "lines.linewidth": 1.5,
    "svg.fonttype": "none",
    "text.parse_math": False,  # a $ is a $
    "xtick.color": GREY,
    "xtick.labelcolor": "black",
    "ytick.color": GREY,
    "ytick.labelcolor": "black",
}


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Set Matplotlib's options for these plots, whatever matplotlibrc says; restored afterwards."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        # browsers have the fonts that Matplotlib lacks
        warnings.filterwarnings("ignore", "Glyph .* missing")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def shown(text: str, limit: int) -> str:
    """Text from data, ready to draw: one line, at most about `limit` letters wide."""
    plain = " ".join(
        "".join(
            c if c.isprintable() else " " if c.isspace() else "\ufffd" for c in text[:999]
        ).split()
    )
    wide = np.cumsum([_width(c) for c in plain])
    return (
        plain
        if not len(wide) or wide[-1] <= limit
        else plain[: int(np.sum(wide < limit))] + "\u2026"
    )


def _width(letter: str) -> float:
    """The approximate width of a letter, in average letters."""
    if unicodedata.east_asian_width(letter) in "WF":
        return 2
    return 1.6 if letter in "MWmw@%" else 1.3 if letter.isupper() else 1


def note(text: str) -> Figure:
    """A figure with only this text."""
    figure = Figure(figsize=(WIDTH, 0.5))
    figure.text(0.5, 0.5, text, ha="center", va="center", color=GREY)
    return figure


def svg(figure: Figure, name: str, title: str) -> str:
    """The figure as an `<svg>` element.

    Its bytes depend on the drawing and the name alone; different names give different ids.
    """
    file = io.StringIO()
    matplotlib.rcParams["svg.hashsalt"] = name
    FigureCanvasSVG(figure).print_svg(
        file, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type"))
    )
    text = file.getvalue()
    text = re.sub(r"\n\s*", "\n", text[text.index("<svg ") :])
    text = re.sub(r'<g id="[^"]*"', "<g", text)  # numbered separately in each figure
    # would style the whole page
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>\s*", "", text, flags=re.DOTALL)
    label = html.escape(title, quote=True)
    return text.replace(
        "<svg ", f'<svg role="img" aria-label="{label}" style="stroke-linejoin:round" ', 1
    )
