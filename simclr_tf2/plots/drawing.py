"""What all figures share: colours, fonts, and the way to PNG and SVG."""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colour-blind safe set (Color Universal Design, 2008) without its
# black, its yellow darkened to be seen on white, and three more for many classes.
PALETTE = (
    "#0072b2",  # blue
    "#d55e00",  # vermilion
    "#009e73",  # green
    "#cc79a7",  # pink
    "#e69f00",  # orange
    "#56b4e9",  # sky
    "#9a8c00",  # olive
    "#7a5195",  # violet
    "#7f4a3a",  # brown
    "#4d4d4d",  # charcoal
)
INK = "#1f2328"
GRID = "#d8dee4"
GOOD = PALETTE[2]
BAD = PALETTE[1]
UNKNOWN = "#8c959f"

_STYLE: dict[str, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9.0,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlesize": 10.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "axes.formatter.useoffset": False,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "figure.facecolor": "white",
    "axes.facecolor": "none",
    "svg.fonttype": "none",
    "text.usetex": False,
    "text.parse_math": False,
}


@contextlib.contextmanager
def style(**overrides: Any) -> Iterator[None]:
    """Apply the look of our figures while one is built or written; restore it after."""
    import matplotlib

    settings: Any = _STYLE | overrides
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        # Class names may be in any script; the SVG leaves the glyphs to the reader.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def new_figure(width: float, height: float) -> Figure:
    """Make an empty figure, ``width`` x ``height`` inches. Call inside ``style()``."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def plain(text: object) -> str:
    """Replace the control characters of a text (an SVG may not hold them)."""
    return "".join(
        c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(text)
    )


def shorten(text: str, length: int) -> str:
    """Cut a text to at most ``length`` characters, an ellipsis at the end."""
    return text if len(text) <= length else text[: length - 1] + "…"


def class_label(label: int, class_names: Sequence[str] = ()) -> str:
    """Return the name of class ``label``; a negative label means there is none."""
    if label < 0:
        return "no label"
    return str(class_names[label]) if label < len(class_names) else f"class {label}"


def message(figure: Figure, text: str) -> Figure:
    """Write ``text`` in the middle of an otherwise empty figure."""
    figure.text(0.5, 0.5, plain(text), ha="center", va="center", color=INK)
    return figure


def blank(axes: Axes) -> None:
    """Remove ticks and frame; the picture in ``axes`` speaks alone."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def to_png(figure: Figure, *, dpi: int = 150) -> bytes:
    """Write ``figure`` on white as PNG bytes."""
    stream = io.BytesIO()
    with style():
        figure.savefig(stream, format="png", dpi=dpi)
    return stream.getvalue()


def to_svg(figure: Figure, *, themed: bool = False, name: str = "plot") -> str:
    """Write ``figure`` as SVG text.

    Args:
        figure: what to write.
        themed: for SVG placed inside HTML. The background is left out; ink becomes
            ``currentColor``, grid and palette become the CSS variables ``--grid`` and
            ``--c0`` .. ``--c9`` (today's colour as fallback), the font ``--font``.
        name: prefix of all ids, so that several figures can stand in one page.
    """
    stream = io.StringIO()
    with style(**{"svg.hashsalt": name}):
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(stream, format="svg", metadata=nothing, transparent=themed)
    text = stream.getvalue()
    if not themed:
        return text
    text = text[text.index("<svg") :]
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)
    return re.sub(r"<[^!>][^>]*>", lambda tag: _themed_tag(tag[0], name), text)


def _themed_tag(tag: str, name: str) -> str:
    """Rewrite one tag with unique ids and colours of the page.

    Text between tags is never passed.
    """
    if tag.startswith("<svg"):
        box = re.search(r'viewBox="[^"]*"', tag)
        assert box is not None, tag
        return f'<svg class="plot" {box[0]} role="img">'
    tag = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{name}-", tag)
    tag = tag.replace(INK, "currentColor").replace(GRID, f"var(--grid, {GRID})")
    for i, color in enumerate(PALETTE):
        tag = tag.replace(color, f"var(--c{i}, {color})")
    return re.sub(r"'DejaVu Sans'[^;\"]*", "var(--font, sans-serif)", tag)
