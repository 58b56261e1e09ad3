"""What a dataset's samples follow from: what was asked for, and what was used where that left a choice open."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dataset_diffusion.config import GenerateSettings, LabelSettings
from dataset_diffusion.reading import Reading

_LATER = {"reading", "read"}


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Used(_Record):
    """How the images were generated, with the model's own value for every setting that was left open.

    Attributes:
        scheduler: name of the denoising scheduler; None is the one in the model's files, which its revision fixes. Of
            given photos it is None, and so are the three that follow.
        height, width: in pixels; of given photos, the size that they are fitted to in their own proportions.
        dtype: floating-point type on the machine that began the dataset.
        reading: how their attention became heatmaps.
    """

    scheduler: str | None = None
    steps: int | None = None
    guidance_scale: float | None = None
    negative_prompt: str | None = None
    height: int
    width: int
    dtype: str
    reading: Reading


class Photos(_Record):
    """Given photos that a model's attention labelled.

    Attributes:
        sha256: hash of their names and sizes in bytes, of those that were left out too.
        classes_from: what said which classes each shows, as in `config.AnnotateSettings`.
        dtype: the model's, as it was asked for.
        left_out: names of the photos that could not be used.
    """

    sha256: str
    classes_from: str
    dtype: str | None = None
    left_out: tuple[str, ...] = ()


class FilterStep(_Record):
    """One filtering that the samples passed.

    Attributes:
        rules: what every sample passed.
        num_samples: samples before it.
        config_hash: that of the dataset it was done to.
        image_text: the CLIP model that was asked; None where no rule asks one.
        dropped: samples that each rule dropped; None in datasets of version 0.1.0, which did not record it.
    """

    rules: tuple[str, ...]
    num_samples: int
    config_hash: str
    image_text: str | None = None
    dropped: tuple[int, ...] | None = None


class Correction(_Record):
    """One import of label maps that were corrected by hand.

    Attributes:
        samples: indices of the corrected samples in the dataset that it was done to, ascending.
        sha256: hash of their indices and label maps.
        config_hash: that of the dataset it was done to.
    """

    samples: tuple[int, ...]
    sha256: str
    config_hash: str


class Provenance(_Record):
    """What the samples follow from, beside the model's weights and the class set. What is not known is None.

    Attributes:
        seed: the run's seed.
        prompts_sha256: hash of the prompts.
        generate: how the images were asked for.
        photos: what was given instead of them.
        label: how the labels were asked for.
        own_labels: how single samples were asked for otherwise, by their names when they were relabelled.
        filter: the filterings of the samples, the first one first.
        corrections: the imports of corrected label maps, the first one first.
        used: what generated or read the images; None where no model did, and in datasets of version 0.1.0.
    """

    seed: int | None = None
    prompts_sha256: str | None = None
    generate: GenerateSettings | None = None
    photos: Photos | None = None
    label: LabelSettings | None = None
    # Left out where there are none, as in every dataset made before decisions could be applied.
    own_labels: dict[str, LabelSettings] = Field(default={}, exclude_if=lambda own: not own)
    filter: tuple[FilterStep, ...] = ()
    corrections: tuple[Correction, ...] = ()
    used: Used | None = None

    @property
    def fitting(self) -> LabelSettings:
        """The labelling that fits how the attention was read."""
        return LabelSettings() if self.used is None else self.used.reading.label

    @classmethod
    def read(cls, recorded: dict[str, Any]) -> Provenance:
        """What a file records, as far as this version knows it: settings that it no longer has are left out, and groups
        with values that it no longer allows are not known.
        """
        try:
            return cls.model_validate(recorded, extra="ignore")
        except ValidationError as error:
            bad = {problem["loc"][0] for problem in error.errors()}
            known = {name: value for name, value in recorded.items() if name not in bad}
            return cls.model_validate(known, extra="ignore")

    def asked(self) -> dict[str, Any]:
        """What was asked for, as JSON values by name. What is not known is left out."""
        values = self.model_dump(
            mode="json", exclude={"filter": True, "corrections": True, "used": True, "photos": {"left_out"}}
        )
        if (generate := values["generate"]) is not None:  # hashes of version 0.1.0, which had no choice of reading
            values["generate"] = {name: one for name, one in generate.items() if name not in _LATER or one is not None}
        known = {name: value for name, value in values.items() if value is not None}
        steps = [step.model_dump(mode="json", exclude={"dropped"}, exclude_none=True) for step in self.filter]
        corrected = [one.model_dump(mode="json") for one in self.corrections]
        return known | ({"filter": steps} if steps else {}) | ({"corrections": corrected} if corrected else {})
