"""What the stages hand to one another. Frozen, typed, no behaviour but to show themselves in a line.

Maps that are computed with (attention, heatmaps) are torch tensors; pictures (images, label maps) are NumPy arrays,
so that ``PIL.Image.fromarray`` takes them as they are. The axis order is always (height, width).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from dataset_diffusion.errors import PromptError

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float16, Float32, UInt8
    from torch import Tensor


def shown(value: Any) -> str:
    """A value in a few words: a picture or map as its dtype and shape, anything else as its `repr`."""
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"{str(value.dtype).removeprefix('torch.')}[{', '.join(map(str, value.shape))}]"
    return f"({', '.join(map(shown, value))})" if type(value) is tuple else repr(value)


class Record:
    """A dataclass whose ``repr`` is a line: its maps and pictures show their dtype and shape."""

    def __repr__(self) -> str:
        values = (f"{field.name}={shown(getattr(self, field.name))}" for field in fields(self))  # type: ignore[arg-type]
        return f"{type(self).__name__}({', '.join(values)})"


class Scene(NamedTuple):
    """What an image may show. A named tuple, as there are millions of them.

    Attributes:
        caption: the scene in words.
        classes: ids (1..K) of the classes that the caption mentions, in order of first mention.
    """

    caption: str
    classes: tuple[int, ...]


@dataclass(frozen=True)
class Prompt:
    """What one image is generated from.

    Attributes:
        index: the sample's index in the run, >= 0.
        text: the text prompt that conditions the image, class words appended: ``"<caption>; <class prompt>"``.
        class_prompt: the class words alone, in the order of ``classes`` (class-prompt appending).
        classes: class ids (1..K), one per class word, in the order in which the class prompt names them.
        class_words: the words of each class in the class prompt, one entry per class. May be left out where the class
            prompt says it: a single class, or one word per class.

    Raises:
        PromptError: the classes are no ids, or the class words cannot be told from the class prompt.
    """

    index: int
    text: str
    class_prompt: str
    classes: tuple[int, ...]
    class_words: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_sequence(self.classes)
        if self.class_words:
            words = tuple(self.class_words)
        else:
            words = (self.class_prompt,) if len(self.classes) == 1 else tuple(self.class_prompt.split())
        if len(words) != len(self.classes):
            raise PromptError(
                "cannot tell the words of each class in the class prompt",
                got=f"{len(words)} words for {len(self.classes)} classes in {self.class_prompt!r}",
                fix="pass class_words, one entry per class",
            )
        object.__setattr__(self, "classes", tuple(int(class_id) for class_id in self.classes))
        object.__setattr__(self, "class_words", words)


def _check_sequence(classes: object) -> None:
    if isinstance(classes, str) or not isinstance(classes, Sequence):
        raise PromptError("the classes of a prompt are ids", got=repr(classes), expected="such as (1, 2)")


@dataclass(frozen=True, eq=False, repr=False)
class AttentionMaps(Record):
    """What the attention of one image says.

    Attributes:
        cross_attention: float32 in [0, 1], "classes hc wc"; a class's map is the mean over its tokens.
        self_attention: float32, "hw hw"; each row sums to 1.
        self_shape: (h, w) of the self-attention grid, h * w == hw.
        are_probabilities: whether ``cross_attention`` is how likely each cell shows the class, as a learned reading
            says; else how much of the attention the class has there, which only means something beside other cells.
    """

    cross_attention: Float32[Tensor, "classes hc wc"]
    self_attention: Float32[Tensor, "hw hw"]
    self_shape: tuple[int, int]
    are_probabilities: bool = False


@dataclass(frozen=True, eq=False, repr=False)
class LayerMaps(Record):
    """What every attention layer and head says of one image, before a learned reading weighs them.

    Attributes:
        cross_attention: per layer float32 in [0, 1], "heads classes+1 h w": the classes (each the mean over its tokens)
            and, last, the start token.
        self_attention, self_shape: as in `AttentionMaps`.
    """

    cross_attention: tuple[Float32[Tensor, "_ tokens _ _"], ...]
    self_attention: Float32[Tensor, "hw hw"]
    self_shape: tuple[int, int]


@dataclass(frozen=True, eq=False, repr=False)
class Generation(Record):
    """One generated image, uint8 RGB in [0, 255], "h w 3", and its attention (None if it was not captured)."""

    image: UInt8[np.ndarray, "h w 3"]
    attention: AttentionMaps | None


@dataclass(frozen=True, eq=False, repr=False)
class Heatmaps(Record):
    """The evidence a label map is made from, for every stored exponent.

    Attributes:
        exponents: how many self-attention products each entry of the first axis has had.
        values: float16 in [0, 1], "exponents classes h w"; each map min-max normalised, or as it is where a learned
            reading gave probabilities.
        ranges: float32, "exponents classes 2"; the minimum and maximum of each map before normalisation.
    """

    exponents: tuple[int, ...]
    values: Float16[np.ndarray, "exponents classes h w"]
    ranges: Float32[np.ndarray, "exponents classes 2"]


class Score(StrEnum):
    """The scores stored with a sample; see ``labelling.quality`` for what they are."""

    PRESENCE = "presence"
    AREA = "area"
    COMPONENTS = "components"
    UNCERTAIN = "uncertain"
    FOREGROUND = "foreground"
    CORRECTED = "corrected"
    """1 where the label map was corrected by hand; other samples have no such score."""

    def of(self, class_id: int) -> str:
        """The name of a class's own score: ``area.7``."""
        return f"{self}.{class_id}"


@dataclass(frozen=True, eq=False, repr=False)
class Sample(Record):
    """One row of a dataset.

    Attributes:
        seed: the sample's own seed, in [0, 2**63).
        prompt: what the image was generated from; ``prompt.index`` is the sample's index.
        image: uint8 RGB in [0, 255], "h w 3".
        label: uint8 class ids, "h w": 0 background, 1..K classes, 255 uncertain (ignored by every loss and score).
        heatmaps: None for scenes whose truth is known and was not read from attention.
        quality: scores by name, see ``labelling.quality``.
    """

    seed: int
    prompt: Prompt
    image: UInt8[np.ndarray, "h w 3"]
    label: UInt8[np.ndarray, "h w"]
    heatmaps: Heatmaps | None
    quality: dict[str, float]
