"""``ViewSpec`` describes and draws the views that pretraining makes of an image."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

from simclr_tf2 import augmentations
from simclr_tf2.augmentations import ViewRules
from simclr_tf2.config import AugmentationConfig

LOCAL_VIEW_SALT = 0x10CA1  # arbitrary
Size = int | tuple[int, int]
Example = dict[str, Any]


def rules_of(config: AugmentationConfig) -> ViewRules:
    """Return the probabilities and ranges that the settings ask for."""
    return ViewRules(
        crop_area=config.crop_area,
        crop_aspect=config.crop_aspect,
        flip_probability=config.flip_probability,
        vertical_flip_probability=config.vertical_flip_probability,
        quarter_turns=config.quarter_turns,
        jitter_probability=config.color_jitter_probability,
        additive_brightness=config.color_jitter_impl == "simclrv1",
        grayscale_probability=config.grayscale_probability,
        blur_probability=config.blur_probability,
        blur_sigma=config.blur_sigma,
        solarize_probability=config.solarize_probability,
        solarize_threshold=config.solarize_threshold,
    )


@dataclass(frozen=True, kw_only=True)
class ViewSpec:
    """The views that are made of an image, and the code that makes them.

    Attributes:
        image_size: Side of a view, or (height, width).
        strength: Strength of the colour distortion (paper, appendix A).
        use_blur: Whether views are blurred at all.
        rules: Probabilities and ranges of everything that is drawn for a view.
        num_views: Views per image; two in the paper (section 2.1).
        num_local_views: Additional small views per image, each of a small part of it.
        local_image_size: Side of a local view, or (height, width).
        backend: A key of ``augmentations.BACKENDS``.
        on_device: Stop after the crop; ``augmentations.finish_batch`` does the rest.
    """

    image_size: Size
    strength: float
    use_blur: bool
    rules: ViewRules = field(default_factory=ViewRules)
    num_views: int = 2
    num_local_views: int = 0
    local_image_size: Size = 96
    backend: str = "tf"
    on_device: bool = False

    @classmethod
    def for_training(
        cls,
        config: AugmentationConfig,
        height_width: tuple[int, int],
        *,
        backend: str,
    ) -> ViewSpec:
        """Return the spec of the views that a run trains on, made by ``backend``."""
        return cls(
            image_size=height_width,
            strength=config.color_jitter_strength,
            use_blur=config.use_blur,
            rules=rules_of(config),
            num_views=config.num_views,
            num_local_views=config.num_local_views,
            local_image_size=config.local_size(height_width),
            backend=backend,
            on_device=config.augment_on == "device",
        )

    @classmethod
    def for_pairs(cls, config: AugmentationConfig, image_size: Size) -> ViewSpec:
        """Return the spec of two views like those of training, for measurements."""
        return cls(
            image_size=image_size,
            strength=config.color_jitter_strength,
            use_blur=config.use_blur,
            rules=rules_of(config),
        )

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments of ``augmentations.pretrain_view`` and ``describe_view``."""
        return {
            "image_size": self.image_size,
            "strength": self.strength,
            "use_blur": self.use_blur,
            "rules": self.rules,
        }

    @property
    def can_draw_at_once(self) -> bool:
        """Whether the backend makes the views of many images in one call."""
        return augmentations.BACKENDS[self.backend].views_of_batch is not None

    def draw(self, image: tf.Tensor, seed: tf.Tensor) -> Example:
        """Make the views of an image.

        Args:
            image: [h, w, c], integers or floats in [0, 1].
            seed: int32 [2].

        Returns:
            {"views": (v1, v2, ..)}, each [height, width, c], and "local_views". With
            ``on_device`` the views are only cropped, and the random numbers for the
            rest, each float32 [9] or [14], are in "draws" and "local_draws".
        """
        backend = augmentations.BACKENDS[self.backend]
        make = backend.windows if self.on_device else backend.views
        return self._draw(functools.partial(make, image), seed)

    def draw_at_once(
        self, images: np.ndarray, index: tf.Tensor, seed: tf.Tensor
    ) -> Example:
        """Make the views of many images of one size, if ``can_draw_at_once``.

        Args:
            images: [n, h, w, c].
            index: int64 [b], the images to take.
            seed: int32 [b, 2].

        Returns:
            As ``draw``, with a first dimension of b.
        """
        backend = augmentations.BACKENDS[self.backend]
        make = backend.windows_of_batch if self.on_device else backend.views_of_batch
        assert make is not None, self.backend
        return self._draw(functools.partial(make, images, index=index), seed)

    def _draw(self, make: Callable[..., Any], seed: tf.Tensor) -> Example:
        colors: dict[str, Any] = {"strength": self.strength}
        if not self.on_device:
            colors["use_blur"] = self.use_blur
        made = make(
            seed=seed,
            num_views=self.num_views,
            image_size=self.image_size,
            rules=self.rules,
            **colors,
        )
        found = self._named(made)
        if self.num_local_views:
            made = make(
                seed=tf.bitwise.bitwise_xor(
                    seed, LOCAL_VIEW_SALT
                ),  # unlike the other views'
                num_views=self.num_local_views,
                image_size=self.local_image_size,
                rules=dataclasses.replace(
                    self.rules, crop_area=augmentations.LOCAL_AREA_RANGE
                ),
                **colors,
            )
            found |= self._named(made, "local_")
        return found

    def _named(self, made: Any, prefix: str = "") -> Example:
        if not self.on_device:
            return {f"{prefix}views": made}
        windows, draws = made
        return {f"{prefix}views": windows, f"{prefix}draws": draws}
