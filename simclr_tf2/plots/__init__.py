"""Pictures of a run: each function returns a matplotlib ``Figure``.

The object API of matplotlib is used throughout: no pyplot, no global figure, no
window. ``to_png`` and ``to_svg`` turn a figure into something to save.

    figure = plots.curves(history, chance_loss=math.log(2 * 256 - 1))
    Path("curves.png").write_bytes(plots.to_png(figure))
"""

from simclr_tf2.plots.drawing import PALETTE, class_label, to_png, to_svg
from simclr_tf2.plots.embeddings import (
    class_styles,
    draw_map,
    embedding_map,
    legend_classes,
    marker_path,
    project,
)
from simclr_tf2.plots.history import curves, draw_panel, panels, series
from simclr_tf2.plots.pictures import (
    augmentation_grid,
    choose_queries,
    nearest,
    nearest_images,
    neighbour_agreement,
    neighbours,
    to_uint8,
)
from simclr_tf2.plots.preview import caption, preview
from simclr_tf2.plots.scores import (
    accuracy_keys,
    confusion,
    interval,
    is_number,
    metric_label,
    result_bars,
)

__all__ = [
    "PALETTE",
    "accuracy_keys",
    "augmentation_grid",
    "caption",
    "choose_queries",
    "class_label",
    "class_styles",
    "confusion",
    "curves",
    "draw_map",
    "draw_panel",
    "embedding_map",
    "interval",
    "is_number",
    "legend_classes",
    "marker_path",
    "metric_label",
    "nearest",
    "nearest_images",
    "neighbour_agreement",
    "neighbours",
    "panels",
    "preview",
    "project",
    "result_bars",
    "series",
    "to_png",
    "to_svg",
    "to_uint8",
]
