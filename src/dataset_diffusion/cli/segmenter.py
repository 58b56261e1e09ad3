"""The commands around a segmenter: training, testing, learning from it how to read attention."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from dataset_diffusion.cli.common import Flat, Result, print_scores, print_skipped
from dataset_diffusion.config import (
    CalibrateSettings,
    EvaluateSettings,
    ExportModelSettings,
    PredictSettings,
    TrainSettings,
)
from dataset_diffusion.errors import Skipped


def train(
    dataset: Annotated[
        tuple[str, ...], Positional, arg(metavar="[DATASET ...]", help_behavior_hint="(default: none)")
    ] = (),
    *,
    out: Path,
    seed: int = 0,
    device: str | None = None,
    skip_bad: bool = False,
    corrected_weight: int = 1,
    settings: Annotated[TrainSettings, Flat] = TrainSettings(),
) -> Result:
    """Train a segmenter on datasets, on real photos, or on both. The same command again resumes.

    Args:
        dataset: Folders of datasets, or their URLs (s3://...); none trains on the photos of --real alone.
        out: Folder of the trained segmenter.
        seed: The run's seed.
        device: cpu, cuda, cuda:1, mps; None takes the best one there is.
        skip_bad: Leave out real photos whose files cannot be used, and list them.
        corrected_weight: How often an image whose label map was corrected by hand counts, beside 1 for the others.
    """
    from dataset_diffusion.stages import train as stage

    skipped = Skipped() if skip_bad else None
    try:
        stage.train(
            dataset, settings, out, seed=seed, device=device, skip_bad=skipped, corrected_weight=corrected_weight
        )
    finally:
        print_skipped(skipped)
    print(f"trained {out}")
    return {"out": out, "skipped": skipped.reasons if skipped else {}}


def evaluate(
    model: Annotated[Path | None, Positional, arg(metavar="[MODEL]")] = None,
    predictions: Path | None = None,
    save_predictions: Path | None = None,
    skip_bad: bool = False,
    out: Path = Path("results.json"),
    *,
    device: str | None = None,
    settings: Annotated[EvaluateSettings, Flat] = EvaluateSettings(),
) -> Result:
    """Score a trained segmenter, or saved label maps, on a benchmark.

    Args:
        model: Folder of a trained segmenter; None scores the predictions.
        predictions: Folder of label maps named <image id>.png to score instead of a model; None scores the model.
        save_predictions: Folder to save the model's label maps in, as the benchmark's test server wants them.
        skip_bad: Leave out images whose files cannot be used, and list them.
        out: File to write the results to.
        device: cpu, cuda, cuda:1, mps; None takes the best one there is.
    """
    from dataset_diffusion.stages import evaluate as stage

    skipped = Skipped() if skip_bad else None
    results = stage.evaluate(
        model,
        settings,
        out,
        device=device,
        skip_bad=skipped,
        predictions=predictions,
        save_predictions=save_predictions,
    )
    print_skipped(skipped)
    if skipped and skipped.reasons:
        print(f"skipped {len(skipped.reasons)} images in all", file=sys.stderr)
    if save_predictions is not None:
        print(f"{results['num_images']} predictions in {save_predictions}")
    if "miou" in results:  # else the labels are not public
        print_scores(results)
        print(f"wrote {out}")
    return {"out": out} | results


def predict(
    model: Annotated[Path, Positional, arg(metavar="MODEL")],
    photos: Annotated[Path, Positional, arg(metavar="PHOTOS")],
    *,
    out: Path,
    device: str | None = None,
    skip_bad: bool = False,
    settings: Annotated[PredictSettings, Flat] = PredictSettings(),
) -> Result:
    """Label photos with a trained segmenter: label maps, overlays, class shares. The same command again resumes.

    Args:
        model: Folder of a trained segmenter.
        photos: Folder of photos or of a video's frames, or one photo.
        out: Folder of the label maps (labels), the overlays (overlays) and the table of class shares (shares.csv).
        device: cpu, cuda, cuda:1, mps; None takes the best one there is.
        skip_bad: Leave out photos that cannot be read, and list them.
    """
    from dataset_diffusion.stages import predict as stage

    skipped = Skipped() if skip_bad else None
    done = stage.predict(model, photos, settings, out, device=device, skip_bad=skipped)
    print_skipped(skipped)
    print(f"{len(done)} photos labelled in {out / stage.LABELS}, class shares in {out / stage.SHARES}")
    return {
        "labels": out / stage.LABELS,
        "shares": out / stage.SHARES,
        "photos": len(done),
        "skipped": skipped.reasons if skipped else {},
    }


def export_model(
    model: Annotated[Path, Positional, arg(metavar="MODEL")],
    *,
    out: Path,
    settings: Annotated[ExportModelSettings, Flat] = ExportModelSettings(),
) -> Result:
    """Write a trained segmenter as one file for other runtimes, and check that it computes the same.

    Args:
        model: Folder of a trained segmenter.
        out: The file to write.
    """
    from dataset_diffusion.stages import export_model as stage

    agreement = stage.export_model(model, settings, out)
    found = f"{agreement.equal_pixels:.4%} equal pixels, probabilities {agreement.largest_difference:.1e} apart at most"
    print(f"wrote {out}, checked against the segmenter: {found}")
    return {"out": out} | asdict(agreement)


def calibrate(
    dataset: Annotated[Path | None, Positional, arg(metavar="[DATASET]")] = None,
    *,
    out: Path,
    seed: int = 0,
    device: str | None = None,
    settings: Annotated[CalibrateSettings, Flat] = CalibrateSettings(),
) -> Result:
    """Learn how to read a model's attention, from a segmenter's predictions or from labelled pictures.

    Args:
        dataset: Folder of a dataset whose pictures are read; None takes those of --benchmark.
        out: File of the reading, for --reading.
        seed: The run's seed.
        device: cpu, cuda, cuda:1, mps; None takes the best one there is.
    """
    from dataset_diffusion.stages import calibrate as stage

    learned = stage.calibrate(dataset, settings, out, seed=seed, device=device)
    print(*stage.summarize(learned), sep="\n")
    print(f"wrote {out}")
    reading = learned.reading
    return {"out": out, "scores": reading.scores, "label": reading.label.model_dump()}
