"""The first stage of a run: prompts, from captions, photos or templates. Imports torch only to caption photos."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from dataset_diffusion.config import GenerateSettings, PromptSettings, WorkerSettings
from dataset_diffusion.disk.atomic import write_json
from dataset_diffusion.disk.photos import list_photos
from dataset_diffusion.errors import ConfigError, DatasetDiffusionError, Skipped, tell
from dataset_diffusion.machine.hub import NO_CODE, load_pretrained
from dataset_diffusion.machine.progress import progress
from dataset_diffusion.prompts.advice import advise
from dataset_diffusion.prompts.balance import EVEN, Emphasis
from dataset_diffusion.prompts.captioner import caption_batches
from dataset_diffusion.prompts.captions import Caption, read_captioned
from dataset_diffusion.prompts.class_sets import ClassSet, resolve_classes
from dataset_diffusion.prompts.compose import (
    FoundScenes,
    WriteScenes,
    compose_prompt,
    draw_prompts,
    find_scenes,
    may_fit,
)
from dataset_diffusion.prompts.known_classes import Known, annotated_classes, find_instances, published_classes
from dataset_diffusion.prompts.mentions import has_word
from dataset_diffusion.prompts.photos import (
    photo_key,
    read_photo_captions,
    uncaptioned_batches,
    write_captions,
)
from dataset_diffusion.prompts.prompt_files import read_prompts, write_prompts
from dataset_diffusion.prompts.statistics import describe_prompts, format_table
from dataset_diffusion.prompts.words import WordList, propose_words
from dataset_diffusion.prompts.writers.chat import load_chat
from dataset_diffusion.prompts.writers.llm import SHARD_SIZE, Request, write_shards
from dataset_diffusion.prompts.writers.scenes import scene_captions
from dataset_diffusion.prompts.writers.templates import template_scenes
from dataset_diffusion.records import Prompt, Scene

MAX_SKIPPED_SHOWN = 20
MAX_TOO_LONG_SHOWN = 3
MAX_SHOWN = 80
"""Characters of a caption."""
PHOTOS_AT_ONCE = 16


class MadePrompts(NamedTuple):
    """Prompts and what they are made from.

    Attributes:
        prompts: one for each image.
        classes: the class set that they name classes of.
        found: the captions that they are made from; None where they are from templates.
        stand_in: whether captions from templates stand in for those of photos, which are not captioned yet.
        instances: the file whose annotations told the classes; None where captions did.
        by_grammar: captions that a chat model did not manage and the grammar wrote; None where none was asked.
    """

    prompts: list[Prompt]
    classes: ClassSet
    found: FoundScenes | None
    stand_in: bool = False
    instances: Path | None = None
    by_grammar: int | None = None


def make_prompts(
    settings: PromptSettings,
    out: Path,
    *,
    seed: int,
    workers: WorkerSettings = WorkerSettings(),
    skip_bad: Skipped | None = None,
    composed: MadePrompts | None = None,
    batch_size: int = PHOTOS_AT_ONCE,
    model: str | None = None,
    emphasis: Emphasis = EVEN,
) -> MadePrompts:
    """Write the prompts, unless they are there already. Captions of photos are kept beside them.

    Args:
        settings: which prompts.
        out: the prompts file.
        seed: the run's seed.
        workers: who captions photos; no caption follows from it.
        skip_bad: takes captions and photos that cannot be used; None refuses them.
        composed: what `compose_prompts` made of the same settings and seed, so that it is not done again.
        batch_size: photos captioned at once.
        model: the model whose tokenizer tells which captions are too long; None leaves out those that are too long for
            CLIP whatever their words.
        emphasis: how often each class and pair is to be named.

    Raises:
        ConfigError: the classes cannot be used, or ``out`` holds other prompts.
        PromptError: the captions cannot be used, or ``out`` cannot be read.
        DatasetError: ``out`` cannot be written, or photos or instances cannot be read.
        ModelError: the captioner or the model's tokenizer cannot be loaded.
    """
    made = composed
    if made is None or made.stand_in:
        kept = out.with_suffix(".captions.jsonl")
        made = compose_prompts(
            settings,
            kept,
            seed=seed,
            workers=workers,
            skip_bad=skip_bad,
            batch_size=batch_size,
            model=model,
            emphasis=emphasis,
        )
    if not out.exists():
        write_prompts(out, made.prompts, made.classes)
    elif read_prompts(out) != (made.prompts, made.classes):
        raise ConfigError(f"{out} holds other prompts", fix="use another --out, or delete the file")
    return made


def compose_prompts(
    settings: PromptSettings,
    photo_captions: Path | None = None,
    *,
    seed: int,
    workers: WorkerSettings = WorkerSettings(),
    skip_bad: Skipped | None = None,
    batch_size: int = PHOTOS_AT_ONCE,
    model: str | None = None,
    emphasis: Emphasis = EVEN,
) -> MadePrompts:
    """The prompts that settings ask for, not written. Raises as `make_prompts`, and takes its arguments but `out`.

    Photos are captioned, and chat models asked, only where there is a file, ``photo_captions``, to keep the captions in
    (those of a chat model in a folder beside it). Without one templates stand in for them, which is enough to check the
    other settings by.
    """
    classes, words, source = resolve_classes(settings.classes), WordList({}), settings.captions
    if settings.words is not None:
        words = WordList.read(settings.words)
        classes = words.added_to(classes)
    captions: list[Caption] | None = None
    known: Known | None = None
    instances = settings.instances
    if source is not None and not source.is_dir():
        captions = read_captioned(source, skip_bad)
        instances = instances or find_instances(source, captions, classes)
        known = published_classes(captions, classes, skip_bad)
        if instances is not None:
            known = annotated_classes(captions, classes, instances)
    elif instances is not None:
        raise ConfigError("--instances is for a file of captions", got=str(instances), fix="name it with --captions")
    elif source is not None:
        photos = list_photos(source)
        if photo_captions is not None:
            made = _caption(
                photos,
                source,
                settings.captioner,
                photo_captions,
                workers=workers,
                skip_bad=skip_bad,
                batch_size=batch_size,
            )
            captions = [Caption(text) for text in made]
    found = None
    fits = may_fit if model is None or (captions is None and settings.writer != "llm") else load_limit(model)
    if captions is not None:
        found = find_scenes([caption.text for caption in captions], classes, known, fits)
    by_chat = settings.writer == "llm"
    stand_in = found is None and (source is not None or (by_chat and photo_captions is None))
    write: WriteScenes = template_scenes
    asked: _AskedChat | None = None
    if settings.writer == "scenes":
        write = partial(scene_captions, unwanted=lambda caption: has_word(caption, words.look_alikes))
    elif by_chat and photo_captions is not None:
        write = asked = _AskedChat(settings.llm, photo_captions.with_suffix(""), words.look_alikes, fits)
    prompts = draw_prompts(found, classes, settings.num_images, seed, emphasis=emphasis, write=write)
    return MadePrompts(prompts, classes, found, stand_in, instances, asked.by_grammar if asked else None)


def propose(settings: PromptSettings, out: Path, *, seed: int) -> WordList:
    """Write the synonyms and look-alikes that the chat model proposes for each class, for a user to edit.

    A file that is there already is left as it is. Raises as `make_prompts`.
    """
    if out.exists():
        return WordList.read(out)
    classes, chat = resolve_classes(settings.classes), load_chat(settings.llm)
    proposed = {}
    with progress("Ask the chat model for synonyms", classes.num_classes, "classes") as advance:
        for name, words in propose_words(classes, chat.answer, seed):
            proposed[name] = words
            advance()
    made = WordList(proposed)
    made.write(out)
    return made


class _AskedChat:
    """Has a chat model write the captions that a folder does not keep yet; `by_grammar` counts what it could not."""

    def __init__(self, llm: str, folder: Path, unwanted: tuple[str, ...], fits: Callable[[str], bool]) -> None:
        self._llm, self._folder, self._unwanted, self._fits = llm, folder, unwanted, fits
        self.by_grammar = 0

    def __call__(self, classes: ClassSet, num: int, seed: int, emphasis: Emphasis) -> list[Scene]:
        def fits(caption: str, ids: Sequence[int]) -> bool:
            return self._fits(compose_prompt(0, caption, ids, classes).text)

        whole = -(-num // SHARD_SIZE) * SHARD_SIZE
        class_ids = [scene.classes for scene in scene_captions(classes, whole, seed, emphasis)]
        request = Request(self._llm, classes, seed, self._unwanted)
        scenes: list[Scene] = []
        with progress("Ask the chat model for captions", whole, "captions") as advance:
            for written in write_shards(request, class_ids, lambda: load_chat(self._llm).answer, self._folder, fits):
                scenes += written.scenes
                self.by_grammar += written.by_grammar
                advance(len(written.scenes))
        return scenes[:num]


def warn_about_classes(prompts: Path, classes: str | None, settings: GenerateSettings) -> None:
    """Say on stderr what the prompts of a file had better not be generated with; nothing where it cannot be read, as
    `generate` tells that.
    """
    with suppress(DatasetDiffusionError):
        class_set = read_prompts(prompts, None if classes is None else resolve_classes(classes))[1]
        for line in advise(class_set, settings):
            tell(line)


def load_limit(model: str) -> Callable[[str], bool]:
    """Whether a text is within the limit of a model's tokenizer, without which nothing else of the model is loaded.

    Raises:
        ModelError: no such model, or its tokenizer cannot be loaded.
    """
    from transformers import AutoTokenizer

    from dataset_diffusion.diffusion.specs import model_spec

    spec = model_spec(model)
    tokenizer = load_pretrained(
        spec.path,
        lambda: AutoTokenizer.from_pretrained(spec.path, subfolder="tokenizer", revision=spec.revision, **NO_CODE),
        missing="cannot get the model's tokenizer",
        expected="a local folder, or a model of a hub that can be reached",
        then="then pass --model FOLDER",
    )
    return lambda text: len(tokenizer(text, truncation=False, verbose=False).input_ids) <= tokenizer.model_max_length


def _caption(
    photos: list[Path],
    folder: Path,
    captioner: str,
    file: Path,
    *,
    workers: WorkerSettings,
    skip_bad: Skipped | None,
    batch_size: int,
) -> list[str]:
    """The captions of a folder's photos. Those that the file does not keep yet are made and added to it."""
    keys = {photo: photo_key(photo, folder) for photo in photos}
    known = read_photo_captions(file, captioner)
    if batches := uncaptioned_batches(keys, known, batch_size):
        captioned = zip(batches, caption_batches(batches, captioner, workers), strict=True)
        done = len(photos) - sum(map(len, batches))
        with progress("Describe photos in captions", len(photos), "photos", done=done) as advance:
            for count in write_captions(captioned, folder, captioner, file, skip_bad):
                advance(count)
        known = read_photo_captions(file, captioner)
    return [known[key] for key in keys.values() if key in known]


def describe_made(made: MadePrompts, skipped: Skipped | None = None) -> dict[str, Any]:
    """What was found and left out, as `describe_prompts` has it."""
    reasons = [] if skipped is None else list(skipped.reasons.values())
    return describe_prompts(made.prompts, made.found, made.classes) | {"skipped": reasons}


def summarize(made: MadePrompts, skipped: Skipped | None = None, report: Path | None = None) -> Iterator[str]:
    """What was found and left out, line by line, and the same as JSON in the file ``report``."""
    found = describe_made(made, skipped)
    reasons = found["skipped"]
    yield from (f"skipped: {reason}" for reason in reasons[:MAX_SKIPPED_SHOWN])
    if len(reasons) > MAX_SKIPPED_SHOWN:
        yield f"skipped: {len(reasons) - MAX_SKIPPED_SHOWN} more"
    if made.by_grammar:
        yield f"captions that the chat model did not manage, written by the grammar of scenes: {made.by_grammar}"
    if made.instances is not None:
        yield f"classes as annotated in {made.instances}"
    yield from format_table(found)
    if made.found is not None:
        for number in sorted(made.found.too_long)[:MAX_TOO_LONG_SHOWN]:
            yield f"too long: {made.found.scenes[number].caption[:MAX_SHOWN]}…"
    if report is not None:
        write_json(report, found, ensure_ascii=False)
