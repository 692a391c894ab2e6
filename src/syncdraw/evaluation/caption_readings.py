"""Do samples show what their captions say? As two readers see it that were trained on real clips alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from syncdraw.datasets.prepared import PreparedClips
from syncdraw.errors import UserError
from syncdraw.evaluation.caption_reader import Readers, RealClips, plain, real_clips, together
from syncdraw.evaluation.models import DrawingModel
from syncdraw.evaluation.reports import Report, Split, data_of
from syncdraw.evaluation.samples import sample_batches


def reading_report(
    model: DrawingModel, card: dict[str, Any], *, data: str | None, samples: int, seed: int, temperature: float
) -> Report:
    """The share of samples that read as the caption they were drawn for, beside real clips and chance.

    Captions that a training clip has are seen, the others unseen. Each gets as many samples as any other. Of each
    unseen one it is said what its samples are taken for most often.

    Raises:
        UserError: the clips have no captions, or all say the same.
    """
    readers, told = trained_readers(card, data, seed)
    known = {plain(caption): caption for captions in told.values() for caption in captions}
    seen = {plain(caption) for caption in told["train"]}
    kinds = {"seen": seen, "unseen": known.keys() - seen}
    own, real_captions = readers.read_real(), readers.clips.captions
    count = len(readers.captions)
    values: dict[str, Any] = {
        "samples": samples, "seed": seed, "temperature": temperature, "captions": count, "chance": 1 / count,
    }  # fmt: skip
    rows: list[tuple[str, float]] = []
    taken_for: dict[str, dict[str, Any]] = {}
    for kind, wanted in kinds.items():
        pairs = [pair for pair in zip(own, real_captions, strict=True) if pair[1] in wanted]
        if pairs:
            values[f"real_{kind}"] = share_right(*zip(*pairs, strict=True))
            rows.append((f"real clips with {kind} captions ({len(pairs)})", values[f"real_{kind}"]))
    for kind, wanted in kinds.items():
        if captions := [known[text] for text in sorted(wanted)]:
            asked = [captions[number % len(captions)] for number in range(samples)]
            found = read_samples(model, readers, asked, seed, temperature)
            values[kind] = share_right(found, [plain(caption) for caption in asked])
            rows.append((f"samples for {len(captions)} {kind} captions ({samples})", values[kind]))
            asked_for = enumerate(captions[:samples])  # fewer samples than captions do not reach all
            taken_for = {caption: most_read(found[number :: len(captions)]) for number, caption in asked_for}
    lines = [
        f"{count} captions, read by two readers, each trained on one half of the real clips' files; seed {seed}, "
        f"temperature {temperature:g}",
        "clips that read as their own caption, percent; real ones by the reader that does not know their file", "",
        *(f"{name:<48}{100 * share:6.1f}" for name, share in [*rows, ("chance", 1 / count)]),
    ]  # fmt: skip
    if "unseen" in values:
        values["unseen_taken_for"] = taken_for
        lines += ["", "what samples for unseen captions are taken for most often", ""]
        lines += [f"{caption}: {most['caption']} ({100 * most['share']:.0f} %)" for caption, most in taken_for.items()]
    return Report("\n".join(lines), values)


def trained_readers(card: dict[str, Any], data: str | None, seed: int) -> tuple[Readers, dict[Split, list[str]]]:
    """Readers of all splits of a model's data, and the captions of each split.

    Raises:
        UserError: the clips have no captions, or all say the same.
    """
    splits: tuple[Split, ...] = ("train", "validation", "test")
    told: dict[Split, list[str]] = {}
    real: list[RealClips] = []
    for split in splits:
        try:
            dataset = data_of(card, data, split)
        except UserError:
            if split == "train":
                raise
            continue  # a small folder may lack it
        real.append(real_clips(dataset, seed))
        told[split] = dataset.told() if isinstance(dataset, PreparedClips) else real[-1].captions
    return Readers.trained(together(real), seed=seed), told


def read_samples(
    model: DrawingModel, readers: Readers, captions: list[str], seed: int, temperature: float
) -> list[str]:
    """As what a sample for each caption is read."""
    return [text for videos in sample_batches(model, captions, seed, temperature) for text in readers.read(videos)]


def share_right(found: Sequence[str], told: Sequence[str]) -> float:
    """How many texts are those that they should be, 0 to 1."""
    return sum(one == other for one, other in zip(found, told, strict=True)) / len(told)


def most_read(found: Sequence[str]) -> dict[str, Any]:
    """The most frequent of some captions, and its share."""
    ((caption, count),) = Counter(found).most_common(1)
    return {"caption": caption, "share": count / len(found)}
