"""Roles of splits: which memes train, which choose, which report; and cutting splits that a set lacks.

A split used to choose never reports. Cuts keep duplicate groups whole and the classes of all label tasks at once
in proportion.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from memeblend.data.manifest import Manifest
from memeblend.errors import DataError, Problem
from memeblend.labels import MISSING

ROLES = ("fit", "select", "report")

_USUAL_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    # the names under which this module cuts, so that a table it has cut can be read again
    "select": "select",
    "report": "test",
}
_MAX_STEPS = 20_000


@dataclass(frozen=True)
class SplitRoles:
    """Split names of each role.

    Attributes:
        fit: splits whose memes train.
        select: splits that choose: early stopping, hyper-parameters, ensemble members.
        report: splits that report and are used for nothing else.

    Raises:
        DataError: a split has two roles.
    """

    fit: tuple[str, ...] = ()
    select: tuple[str, ...] = ()
    report: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        roles_of: dict[str, list[str]] = {}
        for role in ROLES:
            for name in dict.fromkeys(getattr(self, role)):
                roles_of.setdefault(name, []).append(role)
        problems = [
            Problem(f"split {name}", f"has the roles {' and '.join(roles)}")
            for name, roles in roles_of.items()
            if len(roles) > 1
        ]
        if problems:
            raise DataError(
                "A split can have one role only: one that trains or chooses can't report.",
                problems=problems,
                fix="Give each split one role, or leave a role empty: it is then decided by the splits there are.",
            )

    def to_dict(self) -> dict[str, list[str]]:
        """As plain JSON types."""
        return {role: list(names) for role, names in asdict(self).items()}


def assign_roles(
    manifest: Manifest,
    groups: NDArray[np.int64],
    *,
    fit: Sequence[str] = (),
    select: Sequence[str] = (),
    report: Sequence[str] = (),
    select_fraction: float = 0.2,
    report_fraction: float = 0.2,
    seed: int = 0,
) -> tuple[Manifest, SplitRoles]:
    """Give every role its splits, cutting what the set lacks out of the memes that would train.

    Roles that are named stay. For the others: *fit* is `train`; *report* is `test`, else `validation`; *select*
    is `validation` unless it reports. A single split, whatever its name, is cut in three: `train`, `select` and
    `report`. Splits without a single label get no role by themselves, and variants such as `dev_seen` count as
    what they are variants of. What is still lacking is cut out of *fit* under the name `select` or `report`.

    Args:
        manifest: the memes.
        groups: duplicate group per meme [num_memes]; a cut never parts a group.
        fit: names of the splits that train; () decides.
        select: names of the splits that choose; () decides.
        report: names of the splits that report; () decides.
        select_fraction: share of the memes that would train to become *select*, where it is cut.
        report_fraction: share of the memes that would train to become *report*, where it is cut.
        seed: which memes a cut takes.

    Returns:
        The manifest, with the memes that were cut off under new split names, and the roles.

    Raises:
        DataError: a split that is not there, a split with two roles, no split that could train, or a role that
            would be empty.
        ValueError: a fraction that is not between 0 and 1, or not one group per meme.
    """
    for name, fraction in (("select_fraction", select_fraction), ("report_fraction", report_fraction)):
        if not 0 < fraction < 1:
            raise ValueError(f"{name} is {fraction}, expected a number between 0 and 1")
    if len(groups) != len(manifest):
        raise ValueError(f"{len(groups)} group numbers for {len(manifest)} memes")
    named = SplitRoles(tuple(dict.fromkeys(fit)), tuple(dict.fromkeys(select)), tuple(dict.fromkeys(report)))
    roles = _decide(manifest, named)
    random = np.random.default_rng(seed)
    if roles.fit == manifest.split_names == roles.fit[:1] and not fit:
        manifest = manifest.with_splits(["train"] * len(manifest))
        roles = SplitRoles(fit=("train",))
    cuts = [("report", report_fraction), ("select", select_fraction)]
    wanted = [(role, fraction) for role, fraction in cuts if not getattr(roles, role)]
    for position, (role, fraction) in enumerate(wanted):
        later = len(wanted) - position - 1
        manifest, roles = _cut_off(manifest, groups, roles, role, fraction, later, random)
    return manifest, roles


def _decide(manifest: Manifest, named: SplitRoles) -> SplitRoles:
    """Roles by the splits' names; what is still empty has to be cut."""
    there = manifest.split_names
    wanted = [*named.fit, *named.select, *named.report]
    problems = [Problem(f"split {name}", "is not in the data") for name in wanted if name not in there]
    if problems:
        raise DataError(
            "The recipe names splits that the data does not have.",
            problems=problems,
            fix=f"Splits of this data: {', '.join(there) or 'none'}.",
        )
    if not len(manifest):
        raise DataError("There are no memes, so there is nothing to train on.")
    free = [name for name in there if name not in wanted]
    labelled = _labelled_splits(manifest)
    usable = [name for name in free if name in labelled]
    family = {name: [split for split in usable if _family(split) == name] for name in set(_USUAL_NAMES.values())}
    roles = replace(named, fit=named.fit or _fitting(there, usable, family["train"], bool(wanted)))
    left = {key: [name for name in names if name not in roles.fit] for key, names in family.items()}
    if not roles.report:
        roles = replace(roles, report=tuple(left["test"] or ([] if roles.select else left["validation"])))
    if not roles.select:
        chosen = left["select"] or [name for name in left["validation"] if name not in roles.report]
        roles = replace(roles, select=tuple(chosen))
    return roles


def _fitting(there: tuple[str, ...], usable: list[str], train: list[str], others_are_named: bool) -> tuple[str, ...]:
    """Splits that train when the recipe names none."""
    if len(there) == 1 and not others_are_named:
        return there
    others = [name for name in usable if name not in train]
    known = [name for name in others if _family(name) is not None]
    if train and (known or others_are_named or not others):
        return tuple(train)
    if others_are_named and usable:
        return tuple(usable)
    if others_are_named:
        raise DataError(
            "Every split has the role select or report, so none is left to train on.",
            fix=f"Name fewer of them. Splits of this data: {', '.join(there)}.",
        )
    raise DataError(
        f"It is not clear which of the splits {', '.join(there)} trains, which chooses and which reports.",
        fix="Name their roles in the recipe: splits.fit, splits.select and splits.report "
        "(on the command line: --set 'splits.fit=[\"...\"]').",
    )


def _family(split: str) -> str | None:
    """train, validation, test or select for a name such as `dev` or `test_seen`; None for any other."""
    first = re.split(r"[^a-z]", split.casefold(), maxsplit=1)[0]
    return _USUAL_NAMES.get(first)


def _labelled_splits(manifest: Manifest) -> set[str]:
    """Splits with at least one label; all of them if there is no label at all."""
    labelled = np.zeros(len(manifest), dtype=np.bool_)
    for task in manifest.label_tasks:
        labelled |= manifest.labels(task.name) != MISSING
    return set(manifest.splits[labelled].tolist() or manifest.split_names)


def _cut_off(
    manifest: Manifest,
    groups: NDArray[np.int64],
    roles: SplitRoles,
    role: str,
    fraction: float,
    later: int,
    random: np.random.Generator,
) -> tuple[Manifest, SplitRoles]:
    """Cut a new split for a role out of those that fit, leaving enough groups for `later` cuts and to train."""
    rows = np.flatnonzero(np.isin(manifest.splits, roles.fit))
    number, distinct = pd.factorize(groups[rows])
    if len(distinct) < later + 2:
        raise DataError(
            f"The splits {', '.join(roles.fit)} are too small to cut off a part for the role {role}: "
            f"{len(rows)} meme(s) in {len(distinct)} group(s) of duplicates, which a cut must not part, "
            f"and {later + 2} groups are needed.",
            fix="Use more memes that are no duplicates of one another, or name a split for every role.",
        )
    taken = choose_groups(class_counts(manifest, rows, number), fraction, random, leave=later + 1)
    name = _new_name(role, manifest.split_names)
    splits = manifest.splits.astype(object)
    splits[rows[taken[number]]] = name
    return manifest.with_splits(splits.tolist()), replace(roles, **{role: (name,)})


def class_counts(manifest: Manifest, rows: NDArray[np.int64], number: NDArray[np.int64]) -> NDArray[np.float64]:
    """What each group holds [num_groups, 1 + all classes]: memes, and memes of each class of each label task.

    Args:
        manifest: the memes.
        rows: the rows to count.
        number: group of each of these rows, 0 to num_groups - 1.
    """
    columns = [np.bincount(number)]
    for task in manifest.label_tasks:
        labels = manifest.labels(task.name)[rows]
        columns += [
            np.bincount(number[labels == index], minlength=len(columns[0])) for index in range(task.num_classes)
        ]
    return np.stack(columns, axis=1).astype(np.float64)


def choose_groups(
    contents: NDArray[np.float64], fraction: float, random: np.random.Generator, *, leave: int = 1
) -> NDArray[np.bool_]:
    """Choose groups so that together they hold that fraction of every column, as nearly as can be.

    Starts from a random choice and then moves whichever group, in or out, lessens the misfit most until none
    does. The misfit is that of a chi-square test: sum over columns of (held - wanted)^2 / wanted, so rare classes
    weigh as much as frequent ones. Against iterative stratification (Sechidis et al., 2011) it has no order in
    which classes are served, and can correct an early choice.

    Args:
        contents: what each group holds [num_groups, num_columns], not negative.
        fraction: share of every column that is wanted.
        random: which of the many equally good choices is found.
        leave: number of groups that must not be chosen, at the least.

    Returns:
        Mask [num_groups] with at least one group chosen and at least `leave` not chosen.
    """
    num_groups = len(contents)
    most = num_groups - leave
    order = random.permutation(num_groups)
    held_in_order = np.cumsum(contents[order, 0])
    start = int(np.searchsorted(held_in_order, fraction * held_in_order[-1]))
    chosen = np.zeros(num_groups, dtype=np.bool_)
    chosen[order[: min(max(start, 1), most)]] = True

    used = contents[:, contents.sum(axis=0) > 0]
    wanted = fraction * used.sum(axis=0)
    scaled = used / np.sqrt(wanted)  # misfit becomes a plain squared distance
    squares = np.einsum("gc,gc->g", scaled, scaled)
    excess = scaled[chosen].sum(axis=0) - np.sqrt(wanted)
    for _ in range(_MAX_STEPS):
        sign = np.where(chosen, -1.0, 1.0)
        change = 2 * sign * (scaled @ excess) + squares
        if chosen.sum() <= 1:
            change[chosen] = np.inf
        if chosen.sum() >= most:
            change[~chosen] = np.inf
        best = _first_least(change, order)
        if change[best] > -1e-9:
            break
        excess += sign[best] * scaled[best]
        chosen[best] = ~chosen[best]
    return chosen


def _first_least(values: NDArray[np.float64], order: NDArray[np.int64]) -> int:
    """Position of the least value; of equals, the first in `order`, so that no row is favoured."""
    return int(order[np.argmin(values[order])])


def _new_name(role: str, taken: Iterable[str]) -> str:
    names = set(taken)
    number = 1
    while (name := role if number == 1 else f"{role}_{number}") in names:
        number += 1
    return name
