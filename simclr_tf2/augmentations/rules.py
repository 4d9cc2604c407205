"""``ViewRules``: the probabilities and ranges that a pretraining view is drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from simclr_tf2.augmentations import blur, color, crop, solarize


@dataclass(frozen=True, kw_only=True)
class ViewRules:
    """What is drawn for a pretraining view; the defaults are the paper's.

    Attributes:
        crop_area: Least and greatest part of the image that a crop covers.
        crop_aspect: Lowest and highest width over height of a crop, times the aspect of
            the view.
        flip_probability: Of exchanging left and right.
        vertical_flip_probability: Of exchanging top and bottom.
        quarter_turns: Turn by 0, 90, 180 or 270 degrees, all equally likely.
        jitter_probability: Of the colour jitter.
        additive_brightness: The jitter adds to the brightness ("v1" of the reference
            code) instead of multiplying it ("v2").
        grayscale_probability: Of dropping the colour.
        blur_probability: Of the blur.
        blur_sigma: Least and greatest sigma of the blur, in pixels.
        solarize_probability: Of inverting the pixels at or above a threshold, the last
            step (BYOL, arXiv 2006.07733, appendix B).
        solarize_threshold: That threshold, from 0 to 1.
    """

    crop_area: tuple[float, float] = crop.AREA_RANGE
    crop_aspect: tuple[float, float] = crop.ASPECT_RANGE
    flip_probability: float = crop.FLIP_PROBABILITY
    vertical_flip_probability: float = 0.0
    quarter_turns: bool = False
    jitter_probability: float = color.JITTER_PROBABILITY
    additive_brightness: bool = False
    grayscale_probability: float = color.GRAYSCALE_PROBABILITY
    blur_probability: float = blur.PROBABILITY
    blur_sigma: tuple[float, float] = blur.SIGMA_RANGE
    solarize_probability: float = 0.0
    solarize_threshold: float = solarize.THRESHOLD

    @property
    def draws_more(self) -> bool:
        """Whether a view may be changed in a way that the paper's views are not.

        Then five more numbers are drawn for it (``sampling.ranges``).
        """
        return (
            self.additive_brightness
            or self.quarter_turns
            or self.vertical_flip_probability > 0
            or self.solarize_probability > 0
        )

    def require_fit(self, image_size: int | Sequence[int]) -> None:
        """Refuse quarter turns of views of this size unless they are square.

        Raises:
            ValueError: The views are not square and ``quarter_turns`` is set.
        """
        height, width = crop.height_and_width(image_size)
        if self.quarter_turns and height != width:
            raise ValueError(
                "quarter turns need square views. "
                f"Received: image_size={height}x{width}."
            )


PAPER = ViewRules()
