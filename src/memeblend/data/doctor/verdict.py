"""The verdict in sentences: what forbids training, and what to keep in mind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from memeblend.data.doctor.findings import DUPLICATE_KINDS, Diagnosis, LabelFindings

_FEW_FIT_MEMES = 200
_RARE = 10
_EASY_CONSTANT = 0.8
_MUCH_MISSING = 0.05
_SAME_SIZE = 0.95
_FEW_IMAGES = 20
_MANY_CONFLICTS = 0.25
_FEW_GROUPS = 10


def judged(found: Diagnosis, refusal: str) -> Diagnosis:
    """The diagnosis with its verdict.

    Args:
        found: everything but the verdict.
        refusal: why the roles of splits can't be assigned; "" if they can.
    """
    obstacles = [*_bad_rows(found), *([refusal] if refusal else []), *_untrainable(found)]
    watch = [
        *_leaks(found),
        *_small(found),
        *_labels(found),
        *_conflicts(found),
        *_noise(found),
        *_texts(found),
        *_images(found),
    ]
    return replace(found, obstacles=tuple(obstacles), watch=tuple(watch))


def _bad_rows(found: Diagnosis) -> Iterator[str]:
    if found.unusable:
        yield (
            f"{_count(len(found.unusable), 'problem')} in its rows, listed above: "
            "repair them, or drop the rows with --skip-bad."
        )
    if found.unreadable:
        yield (
            f"{_count(len(found.unreadable), 'image')} can't be decoded, listed above: "
            "repair them, or drop their memes with --skip-bad."
        )


def _untrainable(found: Diagnosis) -> Iterator[str]:
    if not found.label_tasks:
        yield "There are no labels to learn; such data can only be predicted on."
    if found.images is None and found.texts is None:
        yield "There are neither images nor texts."
    for task in found.label_tasks:
        fit = [name for name, number in _fit_counts(found, task).items() if number]
        if len(fit) < 2:
            has = f"only the class '{fit[0]}'" if fit else "no label"
            yield (
                f"Label task {task.name}: {_list(found.fit_splits)} has {has}, and two classes are needed "
                "(leave it out by naming the others with --label-task)."
            )
        for role in ("select", "report"):
            given = [name for name in found.roles.get(role, {}) if name in task.counts]
            if given and not any(sum(task.counts[name].values()) for name in given):
                yield f"Label task {task.name}: {_list(given)} has no label, but should {role}."


def _leaks(found: Diagnosis) -> Iterator[str]:
    whole = found.duplicates["any"]
    if not whole.num_crossing:
        return
    by = [
        f"{found.duplicates[kind].num_crossing} by {name}"
        for kind, name in DUPLICATE_KINDS.items()
        if kind != "any" and found.duplicates[kind].num_crossing
    ]
    crosses = "crosses" if whole.num_crossing == 1 else "cross"
    text = f"{_count(whole.num_crossing, 'duplicate group')} {crosses} splits ({', '.join(by) or 'in a chain'})"
    if whole.num_leaking:
        outside = sum(number for name, number in found.splits.items() if name not in found.fit_splits)
        text += (
            f": of the {outside} memes outside {_list(found.fit_splits)}, {whole.num_leaking} are known from there, "
            "so scores on these are too good"
        )
    yield text + "."


def _small(found: Diagnosis) -> Iterator[str]:
    number = sum(found.roles.get("fit", {}).values())
    if found.roles and number < _FEW_FIT_MEMES:
        yield f"Only {_count(number, 'meme')} to train on: scores will depend on chance."


def _labels(found: Diagnosis) -> Iterator[str]:
    for task in found.label_tasks:
        fit = _fit_counts(found, task)
        trained = _list(found.fit_splits)
        elsewhere = {
            name
            for split, counts in task.counts.items()
            if split not in found.fit_splits
            for name, number in counts.items()
            if number
        }
        unseen = [name for name, number in fit.items() if not number and name in elsewhere]
        if unseen:
            yield f"{task.name}: there is no {_list(unseen)} in {trained}, only elsewhere, so that can't be learned."
        rare = [f"{name} ({number})" for name, number in fit.items() if 0 < number < _RARE]
        if rare:
            yield f"{task.name}: hardly any memes of {_list(rare)} in {trained}."
        for split, shift in task.shifts.items():
            if shift.flagged:
                yield (
                    f"{task.name}: the classes of {split} are not shared out as in {trained} "
                    f"(total variation {shift.total_variation:.2f})."
                )
        for split, scores in task.constants.items():
            if scores.best_weighted_f1 >= _EASY_CONSTANT:
                yield (
                    f"{task.name}: always answering '{scores.best}' scores {scores.best_weighted_f1:.2f} "
                    f"weighted F1 on {split} already; look at macro F1."
                )


def _conflicts(found: Diagnosis) -> Iterator[str]:
    told = [
        f"{task.name} in {task.conflicts.num_conflicting} of {task.conflicts.num_groups}"
        for task in found.label_tasks
        if task.conflicts.num_groups >= _FEW_GROUPS
        and task.conflicts.num_conflicting > _MANY_CONFLICTS * task.conflicts.num_groups
    ]
    if told:
        yield (
            f"Memes of one duplicate group often have different labels ({', '.join(told)} groups), "
            "so no model can be right on all of them."
        )


def _noise(found: Diagnosis) -> Iterator[str]:
    noisy = {task.name: task.text_signal for task in found.label_tasks if task.text_signal}
    noisy = {name: signal for name, signal in noisy.items() if signal.near_noise}
    if noisy:
        each = ", ".join(f"{name} {signal.kappa:.2f}" for name, signal in noisy.items())
        yield (
            f"The labels of {_list(list(noisy))} are close to noise for text alone: TF-IDF with logistic regression "
            f"hardly agrees with them beyond chance (kappa: {each}). Unless the images tell more, gains there will "
            "be mostly noise."
        )


def _texts(found: Diagnosis) -> Iterator[str]:
    if found.texts is None:
        yield "No meme has a text: only candidates that read the image alone can be trained."
        return
    missing = sum(found.texts.num_missing.values())
    if missing > _MUCH_MISSING * found.num_memes:
        yield f"{missing} of {found.num_memes} memes have no text."


def _images(found: Diagnosis) -> Iterator[str]:
    images = found.images
    if images is None:
        yield "No meme has an image: only candidates that read the text alone can be trained."
        return
    width, height = images.common_size
    if images.num_distinct >= _FEW_IMAGES and images.num_common >= _SAME_SIZE * images.num_distinct:
        how_many = "All" if images.num_common == images.num_distinct else f"{images.num_common}"
        text = f"{how_many} images are {width}x{height} pixels: someone has resized them"
        if width == height:
            text += ", probably squashing their proportions"
        if max(width, height) < 224:
            text += ", and small print in them can't be read any more"
        yield text + "."
    if images.num_blank:
        yield f"{_count(images.num_blank, 'image')} of one colour only: these tell nothing."


def _fit_counts(found: Diagnosis, task: LabelFindings) -> dict[str, int]:
    """Memes of each class in the splits that train."""
    classes = next(iter(task.counts.values()))
    return {name: sum(task.counts[split][name] for split in found.fit_splits) for name in classes}


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _list(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + (" and " if len(names) > 1 else "") + names[-1]
