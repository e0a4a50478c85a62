"""The pictures of a report, as small SVG files that follow the reader's light or dark scheme.

Drawn once with matplotlib in the light colours; each colour of the palette then becomes a CSS variable inside
the SVG, with its dark value behind `prefers-color-scheme: dark`. Text stays text, so any script renders.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from memeblend.evaluation.metrics import METRICS
from memeblend.report.blending import QUANTITIES, Traces

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 4.7
"""Inches; about the width of a phone, so that text stays legible there."""

_LIGHT_AND_DARK = {
    "ink": ("#1f2430", "#e6e8ee"),
    "soft": ("#6a7183", "#9aa2b5"),
    "line": ("#d5d9e2", "#3a4152"),
    "accent": ("#4c8dd8", "#3f7fca"),
    "constant": ("#c2410c", "#fb923c"),
    "text": ("#2b6cb0", "#63a4ea"),
    "image": ("#b7791f", "#e3b04b"),
    "fusion": ("#2f855a", "#5fc28d"),
    "align": ("#805ad5", "#b196f0"),
    "oscar": ("#0f8b9d", "#4cc3d4"),
    "tfidf": ("#97266d", "#e07ab8"),
    "other": ("#5f6b7a", "#a3adbd"),
}
_KINDS = ("text", "image", "fusion", "align", "oscar", "tfidf")
_CLASS_COLOURS = ("text", "image", "fusion", "align", "tfidf", "oscar", "other")
_MAX_CLASSES_ANNOTATED = 12
_MAX_LABEL = 20
_LEGEND_COLUMNS = 3


def kind_of(candidate: str) -> str:
    """Colour name of a candidate, by its kind ("fusion_frozen-0" is a "fusion")."""
    kind = candidate.partition("-")[0].partition(" ")[0].partition("_")[0]
    return kind if kind in _KINDS else "other"


def metric_words(metric: str) -> str:
    """A metric's name for people ("weighted_f1" -> "weighted F1")."""
    return metric.replace("_f1", " F1")


def overview(label_tasks: Mapping[str, Mapping[str, Any]]) -> str:
    """Every label task's ensemble with its interval, beside the best constant and chance."""

    def draw(axes: Axes) -> None:
        rows = list(label_tasks.values())
        for row, entry in enumerate(rows):
            ensemble = entry["ensemble"]
            _interval(axes, row, ensemble["weighted_f1"], ensemble["interval"], "ink", "D")
            _tick(axes, row, ensemble["baselines"]["best_constant"], "constant")
            _tick(axes, row, ensemble["baselines"]["chance"], "soft")
        _rows(axes, list(label_tasks), "weighted F1 on the report role")
        _legend(axes, [("ink", "D", "ensemble"), ("constant", "|", "best constant"), ("soft", "|", "chance")])

    return svg(draw, height=0.28 * len(label_tasks) + 1.0)


def candidates(entry: Mapping[str, Any]) -> str:
    """One label task: every candidate and the ensemble with intervals, against the baselines."""
    rows = dict(entry["candidates"]) | {"ensemble": entry["ensemble"]}
    baselines = entry["ensemble"]["baselines"]
    members = set(entry["members"]["members"])

    def draw(axes: Axes) -> None:
        axes.axvline(baselines["best_constant"], color=light("constant"), linewidth=1.2)
        axes.axvline(baselines["chance"], color=light("soft"), linewidth=1.0, linestyle=":")
        for row, (name, found) in enumerate(rows.items()):
            colour = "ink" if name == "ensemble" else kind_of(name)
            marker = "D" if name == "ensemble" else "o"
            filled = name == "ensemble" or name in members
            _interval(axes, row, found["weighted_f1"], found["interval"], colour, marker, filled=filled)
        _rows(axes, list(rows), "weighted F1 on the report role")
        _legend(
            axes,
            [("soft", "o", "member"), ("soft", "open", "not chosen"), ("constant", "-", "best constant"),
             ("soft", ":", "chance")],
        )  # fmt: skip

    return svg(draw, height=0.25 * len(rows) + 1.0)


def costs(entry: Mapping[str, Any]) -> str:
    """Score where the choice looked against milliseconds a meme, for candidates and ensembles whose cost is known."""
    points = [point for point in entry["costs"] if point["milliseconds"] is not None]
    front = [point for point in points if point["on_front"]]

    def draw(axes: Axes) -> None:
        from matplotlib.ticker import FuncFormatter

        axes.step(
            [point["milliseconds"] for point in front],
            [point["score"] for point in front],
            where="post",
            color=light("line"),
            linewidth=1.4,
        )
        for point in points:
            members = point["members"]
            colour = kind_of(members[0]) if len(members) == 1 else "soft"
            style: dict[str, Any] = {"marker": "o", "markersize": 5}
            if point["chosen"]:
                colour, style = "ink", {"marker": "D", "markersize": 7}
            face = light(colour) if len(members) == 1 or point["chosen"] else "none"
            axes.plot([point["milliseconds"]], [point["score"]], color=light(colour), markerfacecolor=face, **style)
            if len(members) == 1 and point["on_front"]:  # the others' names would lie on each other
                where = (point["milliseconds"], point["score"])
                axes.annotate(shortened(members[0]), where, (4, 3), textcoords="offset points", fontsize=6.5)
        axes.set_xscale("log")
        for ticks in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
            ticks(FuncFormatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "125" else ""))
        axes.set(xlabel="milliseconds a meme (as measured)", ylabel=metric_words(entry["members"]["objective"]))
        axes.grid(color=light("line"), linewidth=0.5)
        _legend(axes, [("ink", "D", "chosen"), ("soft", "o", "candidate"), ("soft", "open", "best of its size")])

    return svg(draw, height=3.0)


def confusion(entry: Mapping[str, Any]) -> str:
    """The ensemble's confusion matrix: memes counted, shaded by their share of the true class."""
    counts: Sequence[Sequence[int]] = entry["ensemble"]["confusion"]
    classes = entry["classes"]

    def draw(axes: Axes) -> None:
        from matplotlib.patches import Rectangle

        for true, row in enumerate(counts):
            total = sum(row) or 1
            for said, count in enumerate(row):
                share = count / total
                if count:
                    corner, shade = (said - 0.5, true - 0.5), 0.85 * share
                    axes.add_patch(Rectangle(corner, 1, 1, facecolor=light("accent"), alpha=shade))
                if len(classes) <= _MAX_CLASSES_ANNOTATED:
                    axes.text(said, true, f"{count}\n{share:.0%}", ha="center", va="center", fontsize=8)
        axes.set(xlim=(-0.5, len(classes) - 0.5), ylim=(len(classes) - 0.5, -0.5))
        axes.set_xticks(range(len(classes)), [_wrapped(name) for name in classes])
        axes.set_yticks(range(len(classes)), [_wrapped(name) for name in classes])
        if len(classes) > 4:
            axes.tick_params(axis="x", rotation=90)
        axes.set(xlabel="predicted", ylabel="true")
        for side in ("left", "bottom"):
            axes.spines[side].set_visible(False)
        axes.tick_params(length=0)

    return svg(draw, height=min(5.5, 1.5 + 0.5 * len(classes)))


def class_balance(splits: Mapping[str, Mapping[str, Any]], classes: Sequence[str], ordinal: bool) -> str:
    """Share of each class in every split of one label task."""

    def colour(index: int) -> tuple[str, float]:
        if ordinal:
            return "accent", 0.25 + 0.75 * index / max(1, len(classes) - 1)
        return _CLASS_COLOURS[index % len(_CLASS_COLOURS)], 0.9

    def draw(axes: Axes) -> None:
        for row, found in enumerate(splits.values()):
            total, left = sum(found["counts"].values()) or 1, 0.0
            for index, name in enumerate(classes):
                share = found["counts"][name] / total
                shade, alpha = colour(index)
                axes.barh(row, share, left=left, height=0.62, color=light(shade), alpha=alpha, linewidth=0)
                if share >= 0.09:
                    axes.text(left + share / 2, row, f"{share:.0%}", ha="center", va="center", fontsize=8)
                left += share
        labels = [
            f"{shortened(split)}\n{found['role']}, {sum(found['counts'].values()):,}" for split, found in splits.items()
        ]
        _rows(axes, labels, "share of memes")
        axes.set_xlim(0, 1)
        patches = [(colour(index), shortened(name)) for index, name in enumerate(classes)]
        _patch_legend(axes, patches[:_MAX_CLASSES_ANNOTATED])

    num_legend_rows = -(-min(len(classes), _MAX_CLASSES_ANNOTATED) // _LEGEND_COLUMNS)
    return svg(draw, height=0.48 * len(splits) + 0.55 + 0.2 * num_legend_rows)


def curves(found: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """Training loss and the score on the select role by epoch, for every candidate that logged them."""
    logged = dict.fromkeys(key for points in found.values() for point in points for key in point)
    panels = [("train_loss", "training loss (fit role)")] if "train_loss" in logged else []
    panels += [(key, f"{metric_words(key)} (select role)") for key in METRICS if key in logged][:1]

    def draw(axes: Sequence[Axes]) -> None:
        for panel, (key, title) in zip(axes, panels, strict=True):
            for index, (name, points) in enumerate(found.items()):
                xy = [(point["epoch"], point[key]) for point in points if key in point]
                style = ("-", "--", ":")[_number_of(name) % 3]
                panel.plot(
                    [x for x, _ in xy],
                    [y for _, y in xy],
                    style,
                    color=light(kind_of(name)),
                    linewidth=1.3,
                    marker="o" if len(xy) == 1 else None,
                    label=name if index < 12 else None,
                )
            panel.set_ylabel(title)
            panel.grid(color=light("line"), linewidth=0.5)
        axes[-1].set_xlabel("epoch")
        axes[-1].legend(ncols=3, loc="upper center", bbox_to_anchor=(0.45, -0.2), frameon=False, handlelength=1.6)

    num_legend_rows = -(-min(len(found), 12) // 3)
    return _svg_panels(draw, num_panels=len(panels), height=1.85 * len(panels) + 0.45 + 0.19 * num_legend_rows)


def blending(traces: Traces) -> str:
    """One candidate: what was estimated of its branches by epoch, a panel for each quantity."""
    series = list(dict.fromkeys(branch for of_quantity in traces.values() for branch in of_quantity))
    tasks = list(dict.fromkeys(branch.partition("/")[2] for branch in series))

    def draw(axes: Sequence[Axes]) -> None:
        for panel, (quantity, found) in zip(axes, traces.items(), strict=True):
            for branch, points in found.items():
                name, _, task = branch.partition("/")
                panel.plot(
                    [x for x, _ in points],
                    [y for _, y in points],
                    ("-", "--", ":", "-.")[tasks.index(task) % 4],
                    color=light(kind_of("fusion" if name == "fused" else name)),
                    linewidth=1.3,
                    marker="o",
                    markersize=3.5,
                    label=shortened(branch.replace("/", " ")),
                )
            panel.set_ylabel(QUANTITIES[quantity])
            panel.grid(color=light("line"), linewidth=0.5)
        axes[-1].set_xlabel("epoch")
        axes[-1].legend(ncols=3, loc="upper center", bbox_to_anchor=(0.45, -0.25), frameon=False, handlelength=1.6)

    height = 1.5 * len(traces) + 0.45 + 0.19 * -(-len(series) // 3)
    return _svg_panels(draw, num_panels=len(traces), height=height)


def _number_of(candidate: str) -> int:
    digits = candidate.partition(" ")[0].rpartition("-")[2]
    return int(digits) if digits.isdigit() else 0


def light(name: str) -> str:
    """A colour of the palette by its name, as it is drawn; it follows the reader's scheme."""
    return _LIGHT_AND_DARK[name][0]


def shortened(name: str) -> str:
    """A name that is short enough for an axis."""
    return name if len(name) <= _MAX_LABEL else name[: _MAX_LABEL - 1] + "…"


def _wrapped(name: str) -> str:
    """A class name on two lines at most, broken at underscores and blanks."""
    return shortened(name.replace("_", " ")).replace(" ", "\n", 1)


def _interval(
    axes: Axes, row: int, score: float, interval: Sequence[float], colour: str, marker: str, *, filled: bool = True
) -> None:
    axes.plot(interval, [row, row], color=light(colour), linewidth=2.2, solid_capstyle="round", alpha=0.55)
    face = light(colour) if filled else "none"
    axes.plot(
        [score],
        [row],
        marker,
        markersize=5.5,
        markerfacecolor=face,
        markeredgecolor=light(colour),
        markeredgewidth=1.4,
    )


def _tick(axes: Axes, row: int, value: float, colour: str) -> None:
    axes.plot([value, value], [row - 0.32, row + 0.32], color=light(colour), linewidth=1.8)


def _rows(axes: Axes, labels: Sequence[str], xlabel: str) -> None:
    axes.set_yticks(range(len(labels)), [label if "\n" in label else shortened(label) for label in labels])
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.set_xlabel(xlabel)
    axes.grid(axis="x", color=light("line"), linewidth=0.5)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def _legend(axes: Axes, entries: Iterable[tuple[str, str, str]]) -> None:
    """A legend above the axes; entries are (colour, marker or line style or "open", words)."""
    from matplotlib.lines import Line2D

    handles = []
    for colour, mark, words in entries:
        style: dict[str, Any] = {"color": light(colour), "label": words, "markersize": 5.5}
        if mark in ("-", ":"):
            style["linestyle"] = mark
        else:
            style |= {"linestyle": "none", "marker": "o" if mark == "open" else mark, "markeredgewidth": 1.6}
            style |= {"markerfacecolor": "none"} if mark == "open" else {}
        handles.append(Line2D([], [], **style))
    _place_legend(axes, handles, ncols=len(handles))


def _patch_legend(axes: Axes, entries: Sequence[tuple[tuple[str, float], str]]) -> None:
    from matplotlib.patches import Patch

    # matplotlib fills a legend column by column; classes read row by row.
    by_row = [entry for column in range(_LEGEND_COLUMNS) for entry in entries[column::_LEGEND_COLUMNS]]
    handles = [Patch(color=light(shade), alpha=alpha, label=words) for (shade, alpha), words in by_row]
    _place_legend(axes, handles, ncols=_LEGEND_COLUMNS)


def _place_legend(axes: Axes, handles: Sequence[Any], ncols: int) -> None:
    axes.legend(
        handles=handles,
        ncols=ncols,
        loc="lower left",
        bbox_to_anchor=(-0.02, 1.0),
        frameon=False,
        handlelength=1.0,
        handletextpad=0.5,
        columnspacing=1.0,
        borderpad=0.1,
    )


def svg(draw: Callable[[Axes], None], height: float) -> str:
    """Draw on one pair of axes and give the SVG text."""
    return _svg_panels(lambda axes: draw(axes[0]), num_panels=1, height=height)


def _svg_panels(draw: Callable[[Sequence[Axes]], None], num_panels: int, height: float) -> str:
    """Draw on stacked axes and give the SVG text; the same figure gives the same bytes."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_style()), warnings.catch_warnings():
        # Text is written as text; a script that matplotlib's own font lacks is drawn by the reader's fonts.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        axes = list(figure.subplots(num_panels, 1, squeeze=False)[:, 0])
        draw(axes)
        return _themed(_rendered(figure))


def _style() -> Any:
    ink, line = light("ink"), light("line")
    return {
        "font.family": ["sans-serif"],
        "font.sans-serif": ["DejaVu Sans"],
        "font.size": 9,
        "legend.fontsize": 8,
        "axes.labelsize": 8.5,
        "axes.edgecolor": line,
        "axes.labelcolor": light("soft"),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "axes.facecolor": "none",
        "text.color": ink,
        "text.parse_math": False,
        "xtick.color": line,
        "ytick.color": line,
        "xtick.labelcolor": ink,
        "ytick.labelcolor": ink,
        "svg.fonttype": "none",
        "svg.hashsalt": "memeblend",
    }


def _rendered(figure: Figure) -> str:
    stream = io.StringIO()
    figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return stream.getvalue()


def _themed(svg: str) -> str:
    """Replace the light colours by variables that a dark scheme gives other values."""
    light, dark = [], []
    for name, (day, night) in _LIGHT_AND_DARK.items():
        svg = svg.replace(day, f"var(--{name})")
        light.append(f"--{name}:{day}")
        dark.append(f"--{name}:{night}")
    rules = f":root{{{';'.join(light)}}}@media(prefers-color-scheme:dark){{:root{{{';'.join(dark)}}}}}"
    head, tag, rest = svg.partition("<defs>")
    return f"{head}<style>{rules}</style>{tag}{rest}"
