"""A diagnosis for a person to read, drawn with rich."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from memeblend.data.doctor.findings import DUPLICATE_KINDS, Diagnosis, LabelFindings
from memeblend.errors import Problem

_MAX_PROBLEMS = 20
_MAX_EXAMPLES = 3
_MAX_MEMES = 4
_TEXT_COLUMNS = ("role", "what is wrong", "label task")


def render(diagnosis: Diagnosis) -> RenderableType:
    """The diagnosis as something that `rich.print` shows: tables, examples, and the verdict last."""
    parts: list[RenderableType] = [
        Text(f"{diagnosis.data}: {diagnosis.num_memes:,} memes", style="bold"),
        _splits(diagnosis),
    ]
    for title, problems in (
        ("Rows that can't be used", diagnosis.unusable),
        ("Images that can't be decoded", diagnosis.unreadable),
    ):
        if problems:
            parts.append(_problems(title, problems))
    parts.append(_contents(diagnosis))
    parts += [_balance(diagnosis, task) for task in diagnosis.label_tasks]
    if diagnosis.label_tasks:
        parts.append(_judged_by(diagnosis))
    parts.append(_duplicates(diagnosis))
    parts += [Padding(Text(line), (0, 0, 0, 2)) for line in _examples(diagnosis)]
    parts.append(_verdict(diagnosis))
    spaced: list[RenderableType] = []
    for part in parts:
        spaced += [part] if isinstance(part, Padding) else [Text(), part]
    return Group(*spaced[1:])


def _splits(diagnosis: Diagnosis) -> Table:
    table = _table("Splits", "split", "memes", "role")
    of_split = {name: role for role, counts in diagnosis.roles.items() for name in counts}
    trains = "trains" if diagnosis.roles else "?"
    cut = [
        f"{number} cut off to {role}"
        for role, counts in diagnosis.roles.items()
        for name, number in counts.items()
        if name not in diagnosis.splits and role != "fit"
    ]
    verbs = {"fit": trains, "select": "selects", "report": "reports"}
    for name, number in diagnosis.splits.items():
        if name in diagnosis.fit_splits:
            role = ", ".join([trains, *cut])
        else:
            role = verbs[of_split[name]] if name in of_split else "none"
        table.add_row(Text(name), f"{number:,}", role)
    return table


def _problems(title: str, problems: Sequence[Problem]) -> Table:
    table = _table(f"{title} ({len(problems)})", "where", "what is wrong")
    for problem in problems[:_MAX_PROBLEMS]:
        table.add_row(Text(problem.where), Text(problem.what))
    if len(problems) > _MAX_PROBLEMS:
        table.add_row("...", f"and {len(problems) - _MAX_PROBLEMS} more (all of them with --json)")
    return table


def _contents(diagnosis: Diagnosis) -> Text:
    lines = []
    images, texts = diagnosis.images, diagnosis.texts
    if images is None:
        lines.append("Images: none.")
    else:
        spans = [
            f"{low}-{high} (median {median})" if low != high else f"{low}"
            for low, median, high in (images.widths, images.heights)
        ]
        width, height = images.common_size
        lines.append(
            f"Images: {images.num_distinct:,} distinct, {spans[0]} wide and {spans[1]} high; "
            f"{images.num_common:,} are {width}x{height}; {images.num_blank} blank."
        )
    if texts is None:
        lines.append("Texts: none.")
    else:
        missing = ", ".join(f"{number} in {name}" for name, number in texts.num_missing.items() if number)
        lines.append(f"Texts: {texts.median_words:g} words in the median; missing: {missing or 'none'}.")
    return Text("\n".join(lines))


def _balance(diagnosis: Diagnosis, task: LabelFindings) -> Table:
    splits = list(diagnosis.splits)
    table = _table(f"{task.name} ({task.kind})", "class", *splits)
    totals = {name: sum(task.counts[name].values()) for name in splits}
    for class_name in task.counts[splits[0]]:
        cells = [_share(task.counts[name][class_name], totals[name]) for name in splits]
        table.add_row(Text(class_name), *cells)
    if any(task.num_missing.values()):
        table.add_row("no label", *(f"{task.num_missing[name]:,}" for name in splits), style="dim")
    if task.shifts:
        cells = [_shift(task, name) if name in task.shifts else "" for name in splits]
        table.add_row("shift", *cells, style="dim")
    return table


def _share(number: int, total: int) -> str:
    return f"{number:,} ({100 * number / total:.1f} %)" if total else f"{number:,}"


def _shift(task: LabelFindings, split: str) -> str:
    shift = task.shifts[split]
    return f"{shift.total_variation:.3f}" + (" !" if shift.flagged else "")


def _judged_by(diagnosis: Diagnosis) -> Table:
    table = _table(
        "What a model has to beat (weighted F1 / macro F1), and what words alone tell",
        "split",
        "label task",
        "majority of train",
        "best constant",
        "words alone, on train",
        "kappa",
        "label conflicts",
    )
    for task in diagnosis.label_tasks:
        signal = task.text_signal
        conflicts = task.conflicts
        last = [
            f"{signal.weighted_f1:.3f} / {signal.macro_f1:.3f}" if signal else "-",
            f"{signal.kappa:.3f}" if signal else "-",
            f"{conflicts.num_conflicting} of {conflicts.num_groups} groups",
        ]
        for split, scores in task.constants.items() or {"-": None}.items():
            constants = (
                [
                    f"{scores.majority} {scores.majority_weighted_f1:.3f} / {scores.majority_macro_f1:.3f}",
                    f"{scores.best} {scores.best_weighted_f1:.3f} / {scores.best_macro_f1:.3f}",
                ]
                if scores
                else ["-", "-"]
            )
            table.add_row(*(Text(cell) for cell in (split, task.name, *constants, *last)))
            last = [""] * 3
    return table


def _duplicates(diagnosis: Diagnosis) -> Table:
    table = _table("Duplicates", "kind", "groups", "memes", "groups across splits", "memes known from train")
    for kind, found in diagnosis.duplicates.items():
        numbers = (found.num_groups, found.num_memes, found.num_crossing, found.num_leaking)
        table.add_row(DUPLICATE_KINDS[kind], *(f"{number:,}" for number in numbers))
    return table


def _examples(diagnosis: Diagnosis) -> Iterator[str]:
    for group in diagnosis.duplicates["any"].examples[:_MAX_EXAMPLES]:
        yield "across splits: " + _memes(group)
    for task in diagnosis.label_tasks:
        for group in task.conflicts.examples[:1]:
            yield f"different {task.name}: " + _memes(group)


def _memes(group: Sequence[tuple[str, str]]) -> str:
    shown = ", ".join(f"{meme_id} ({value})" for meme_id, value in group[:_MAX_MEMES])
    return shown + (f" and {len(group) - _MAX_MEMES} more" if len(group) > _MAX_MEMES else "")


def _verdict(diagnosis: Diagnosis) -> Group:
    if diagnosis.ready:
        lines = [Text("Ready to train." + (" Watch:" if diagnosis.watch else ""), style="bold green")]
    else:
        lines = [Text("Not fit for training:", style="bold red")]
        lines += [Text(f"- {sentence}") for sentence in diagnosis.obstacles]
        if diagnosis.watch:
            lines.append(Text("Watch as well:", style="bold"))
    return Group(*lines, *(Text(f"- {sentence}") for sentence in diagnosis.watch))


def _table(title: str, first: str, *others: str) -> Table:
    table = Table(title=Text(title), title_justify="left", title_style="bold", header_style="none")
    for name in (first, *others):
        table.add_column(Text(name), justify="left" if name in _TEXT_COLUMNS or name == first else "right")
    return table
