"""What shapes a model. The defaults are the papers'; what is marked (ours) goes beyond them.

`building.py` makes a model of a config. The fields under "from the data" are not settings: training fills them in.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, ClassVar, Literal

from syncdraw.errors import UserError

Protocol = Literal["binary", "grey", "levels"]
"""Pixels as targets: thresholded at 0.5 (`binary`), soft (`grey`), or one of 256 levels (`levels`, ours)."""

Content = Literal["per_frame", "shared", "both", "painted"]
"""What a drawing step writes; see `AttentionConfig`."""


def patches_written(content: Content, frames: int) -> int:
    """How many patches a drawing step writes."""
    return {"per_frame": frames, "shared": 1, "both": frames + 1, "painted": frames}[content]


MOST_LOOKED_AT = 4
"""Layers of a video that is looked at more than once: all orders of its clauses are tried."""

PAINTED = 4
"""Of a patch that is painted, K is a multiple of it (extensions/painter.py)."""


STRICT = {"extra": "forbid"}
"""For `reading.read_settings`: a setting that is not known is not passed over."""


def at_least(minimum: int, path: str, config: object, *names: str) -> None:
    """Raise UserError unless each of these fields of a config is a whole number of `minimum` or more."""
    for name in names:
        value = getattr(config, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
            raise UserError(f"{path}{name} is {value!r}; it must be a whole number, {minimum} or more")


MOST_NUMBERS, MOST_PARAMETERS = 2**26, 2**28
"""Limits that hold before anything is allocated, so that a stranger's file cannot take all memory: numbers in a clip
(frames x channels x height x width: 67 million), and weights of a model (268 million, a gigabyte)."""


def _check_shape(config: SyncDrawConfig | VGANConfig) -> None:
    """Raise UserError unless clips are grey or RGB, and of a size that can be drawn."""
    if config.channels not in (1, 3):
        raise UserError(f"model.channels is {config.channels}; it must be 1 (grey) or 3 (RGB)")
    numbers = math.prod(config.shape)
    if numbers > MOST_NUMBERS:
        raise UserError(
            f"model.frames, channels, height and width are {', '.join(map(str, config.shape))}: a clip of "
            f"{numbers:,} numbers; no more than {MOST_NUMBERS:,} are drawn"
        )


@dataclass(frozen=True)
class AttentionConfig:
    """How the model looks and paints.

    Attributes:
        kind: a window for each frame, one for all frames (Table 1's Global), or one in space-time (its Baseline).
        write_grid_size: K for writing, where it differs from reading (ours).
        read_from: windows to read with come from h_dec^{t-1} (v1), or from h_dec^{t-1} and the video (v2).
        smooth_start: filters begin half a stride wide, not 1 pixel (ours).
        content: what is written: a patch for each frame (per_frame, the papers), one that all frames share and each
            places (shared, ours), the sum of both (both, ours), or a patch for each frame that is a sum of shapes, each
            painted in one colour (painted, ours).
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    kind: Literal["frame", "global", "cuboid"] = "frame"
    write_grid_size: int | None = None
    read_from: Literal["state", "state_and_video"] = "state"
    smooth_start: bool = False
    content: Content = "per_frame"

    def __post_init__(self) -> None:
        if self.write_grid_size is not None:
            at_least(1, "model.attention.", self, "write_grid_size")
        if self.content != "per_frame" and self.kind == "cuboid":
            raise UserError(f"model.attention.content {self.content} goes with kind frame or global, not cuboid")


@dataclass(frozen=True)
class PriorConfig:
    """What z is drawn from when there is no video.

    Attributes:
        kind: N(0, I) (v2), v1's caption prior, or a network of h_dec^{t-1} and the caption (ours).
        components: of which the network prior is a mixture; the papers' priors have one (ours).
        categories: without captions, a model chooses one of so many before it draws (ours); 0 for none.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    kind: Literal["standard", "caption", "network"] = "standard"
    components: int = 1
    categories: int = 0

    def __post_init__(self) -> None:
        at_least(1, "model.prior.", self, "components")
        at_least(0, "model.prior.", self, "categories")
        if self.components > 1 and self.kind != "network":
            raise UserError(f"model.prior.kind is {self.kind}; with several model.prior.components it must be network")
        if self.categories == 1:
            raise UserError("model.prior.categories is 1; it must be 0 for none, or 2 or more")


@dataclass(frozen=True)
class CaptionConfig:
    """How captions condition the drawing.

    Attributes:
        route: none; alignment, v1's, word by word; or v2's one vector for the sentence, from an encoder that is trained
            with the model (recurrent) or comes trained (minilm, or skip-thoughts:FOLDER).
        size: width of what a trained encoder makes of a caption, or of the vector of a category.
        vocabulary: from the data: the words that a trained encoder knows.
        encoder_version: from the data: the weights that a pretrained encoder had when the model was trained.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    route: str = "none"
    size: int = 128
    vocabulary: tuple[str, ...] = ()
    encoder_version: str = ""

    def __post_init__(self) -> None:
        at_least(1, "model.captions.", self, "size")
        known = ("none", "alignment", "recurrent", "minilm")
        if self.route not in known and not (self.route.startswith("skip-thoughts:") and len(self.route) > 14):
            raise UserError(
                f"model.captions.route is {self.route!r}; it must be {', '.join(known)} or skip-thoughts:FOLDER"
            )
        object.__setattr__(self, "vocabulary", tuple(self.vocabulary))  # JSON and YAML give lists

    @property
    def pretrained(self) -> bool:
        """Whether the encoder comes trained."""
        return self.route not in ("none", "alignment", "recurrent")


@dataclass(frozen=True)
class FirstLookConfig:
    """The model that takes the first look (extensions/looking.py), where it differs from the one that it looks for.

    Attributes:
        draw_steps: from the first look: its drawing steps, over all layers; 0 for no first look.
        captioned: from the first look: whether it is told the captions.
        categories: from the first look: among how many categories it chooses.
        category_size: from the first look: width of their vectors.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    draw_steps: int = 0
    captioned: bool = False
    categories: int = 0
    category_size: int = 128

    def __post_init__(self) -> None:
        at_least(0, "model.first_look.", self, "draw_steps", "categories")
        at_least(1, "model.first_look.", self, "category_size")


@dataclass(frozen=True)
class SyncDrawConfig:
    """Everything that shapes a model.

    Attributes:
        frames: from the data: number of frames, N in the papers.
        channels: from the data: 1 for grey, 3 for RGB.
        height: from the data: pixels, A.
        width: from the data: pixels, B.
        draw_steps: T, over how many steps the video is drawn.
        layers: the video is drawn in so many layers, each over an equal share of the steps; they add up as light does
            (ours; the papers: one). A layer draws one clause of the caption.
        grid_size: K, the window has K x K filters.
        hidden_size: width of both LSTMs.
        latent_size: width of each z^t.
        canvas: starts at zero, probability 0.5 everywhere (papers); at a learned logit for each channel (ours, and
            DRAW's code); or at a learned image, one logit for each pixel, which suits films before a fixed ground
            (ours).
        protocol: pixels as targets are thresholded at 0.5 (binary), soft (grey), or one of 256 levels (levels; ours).
        attention: how the model looks and paints.
        prior: what z is drawn from when there is no video.
        captions: how captions condition the drawing.
        first_look: at a video of several layers, after which each is encoded as if it were alone (ours).
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    frames: int = 10
    channels: int = 1
    height: int = 64
    width: int = 64
    draw_steps: int = 10
    layers: int = 1
    grid_size: int = 8
    hidden_size: int = 256
    latent_size: int = 100
    canvas: Literal["zero", "learned", "image"] = "zero"
    protocol: Protocol = "grey"
    attention: AttentionConfig = field(default_factory=AttentionConfig)
    prior: PriorConfig = field(default_factory=PriorConfig)
    captions: CaptionConfig = field(default_factory=CaptionConfig)
    first_look: FirstLookConfig = field(default_factory=FirstLookConfig)

    def __post_init__(self) -> None:
        sizes = "frames", "height", "width", "draw_steps", "layers", "grid_size", "hidden_size", "latent_size"
        at_least(1, "model.", self, *sizes)
        _check_shape(self)
        if self.protocol not in ("binary", "grey", "levels"):
            raise UserError(f"model.protocol is {self.protocol!r}; it must be binary, grey or levels")
        if self.canvas not in ("zero", "learned", "image"):
            raise UserError(f"model.canvas is {self.canvas!r}; it must be zero, learned or image")
        if self.draw_steps % self.layers:
            raise UserError(
                f"model.layers is {self.layers}; it must divide model.draw_steps, which is {self.draw_steps}"
            )
        self._check_first_look()
        if self.attention.content == "painted" and self.write_grid_size % PAINTED:
            raise UserError(
                f"model.attention.content is painted, for which K to write with, model.attention.write_grid_size, must "
                f"be a multiple of {PAINTED}; it is {self.write_grid_size}"
            )
        if self.prior.categories and self.captioned:
            raise UserError(
                f"model.captions.route is {self.captions.route}; with model.prior.categories it must be none"
            )
        if self.draw_steps > 10_000:
            raise UserError(f"model.draw_steps is {self.draw_steps}; it must be 10,000 or less")
        if self.parameters > MOST_PARAMETERS:
            raise UserError(
                f"the model would have about {self.parameters:,} weights; no more than {MOST_PARAMETERS:,} are built: "
                "lower model.hidden_size, model.grid_size or model.latent_size"
            )

    def _check_first_look(self) -> None:
        look = self.first_look
        if not look.draw_steps:
            return
        if not 1 < self.layers <= MOST_LOOKED_AT:
            raise UserError(
                f"model.layers is {self.layers}; with a first look it must be 2 to {MOST_LOOKED_AT}: one layer needs "
                "none, and of more there are too many orders to try"
            )
        if look.draw_steps % self.layers:
            raise UserError(
                f"model.first_look.draw_steps is {look.draw_steps}; it must be a multiple of model.layers, which is "
                f"{self.layers}"
            )
        if look.captioned and not self.captioned:
            raise UserError("model.first_look.captioned is true, but the model itself takes no captions")

    @property
    def parameters(self) -> int:
        """About how many weights the model has, and seldom fewer: its largest layers are counted."""
        hidden, latent = self.hidden_size, self.latent_size
        caption = self.captions.size if self.captioned or self.prior.categories else 0
        frames, depth = (1, self.grid_size) if self.attention.kind == "cuboid" else (self.frames, 1)
        read = frames * depth * self.channels * self.grid_size**2
        write = patches_written(self.attention.content, frames) * depth * self.channels * self.write_grid_size**2
        encoder = 4 * hidden * (2 * read + 2 * hidden + caption)
        painter = 128 * hidden * frames + 3 * (hidden + 128) * self.write_grid_size**2
        content = painter if self.attention.content == "painted" else hidden * write
        decoder = 4 * hidden * (latent + 2 * caption + hidden) + content
        by_video = 6 * self.frames * math.prod(self.shape) if self.attention.read_from == "state_and_video" else 0
        words = (len(self.captions.vocabulary) + self.prior.categories + 16 * caption) * caption
        prior = 2 * latent * self.prior.components * hidden + hidden * (hidden + 2 * caption)
        whole = encoder + decoder + by_video + words
        return (2 if self.first_look.draw_steps else 1) * whole + prior

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """`(frames, channels, height, width)` of a video."""
        return self.frames, self.channels, self.height, self.width

    @property
    def captioned(self) -> bool:
        """Whether videos are drawn from captions."""
        return self.captions.route != "none"

    @property
    def write_grid_size(self) -> int:
        """K for writing."""
        return self.attention.write_grid_size or self.grid_size


FROM_DATA = ("frames", "channels", "height", "width", "captions.vocabulary", "captions.encoder_version")
"""Fields of `SyncDrawConfig` that training fills in from the data set."""

FROM_FIRST_LOOK = tuple(f"first_look.{name}" for name in ("draw_steps", "captioned", "categories", "category_size"))
"""And those that it fills in from the model that takes the first look."""


VGAN_DOUBLINGS = 4
"""How often each stream of a VGAN doubles its volume after the first one."""


@dataclass(frozen=True)
class VGANConfig:
    """The shape of a VGAN. The defaults are the paper's.

    Attributes:
        kind: says that it is a VGAN.
        frames: a multiple of 16, as each stream doubles its first volume four times.
        channels: 3 for RGB, or 1 for grey (ours).
        height: pixels, a multiple of 16.
        width: pixels, a multiple of 16.
        latent_size: numbers in the code z.
        filters: of the widest volume's layer; each volume of half the size has twice as many.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    captioned: ClassVar[bool] = False
    draw_steps: ClassVar[int] = 1
    protocol: ClassVar[Protocol] = "grey"

    kind: Literal["vgan"] = "vgan"
    frames: int = 32
    channels: int = 3
    height: int = 64
    width: int = 64
    latent_size: int = 100
    filters: int = 64

    def __post_init__(self) -> None:
        for name in ("frames", "height", "width"):
            value = getattr(self, name)
            if value < 1 or value % 2**VGAN_DOUBLINGS:
                raise UserError(f"model.{name} is {value}; for VGAN it must be a multiple of {2**VGAN_DOUBLINGS}")
        at_least(1, "model.", self, "latent_size", "filters")
        _check_shape(self)
        if self.parameters > MOST_PARAMETERS:
            raise UserError(
                f"the model would have about {self.parameters:,} weights; no more than {MOST_PARAMETERS:,} are built: "
                "lower model.filters or model.latent_size"
            )

    @property
    def parameters(self) -> int:
        """About how many weights the model has: those of the convolutions between volumes and next to the code."""
        between = sum(wide * narrow for wide, narrow in pairwise(self.widths))
        # The foreground's and the critic's kernels have 4 x 4 x 4 numbers, the background's 4 x 4.
        return (2 * 64 + 16) * between + self.latent_size * self.widths[0] * math.prod(self.first_volume)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """`(frames, channels, height, width)` of a video."""
        return self.frames, self.channels, self.height, self.width

    @property
    def first_volume(self) -> tuple[int, int, int]:
        """`(frames, height, width)` of the smallest volume."""
        return self.frames // 2**VGAN_DOUBLINGS, self.height // 2**VGAN_DOUBLINGS, self.width // 2**VGAN_DOUBLINGS

    @property
    def widths(self) -> list[int]:
        """Channels of the volumes between the code and the video, from the smallest volume to the largest."""
        return [self.filters * 2**halvings for halvings in reversed(range(VGAN_DOUBLINGS))]
