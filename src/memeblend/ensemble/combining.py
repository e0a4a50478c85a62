"""The joint table of an ensemble: the chosen members, voting as the choice says."""

from __future__ import annotations

from collections.abc import Sequence

from memeblend.ensemble.selection import EnsembleChoice
from memeblend.ensemble.voting import blend
from memeblend.evaluation.tables import PredictionTable


def combine(tables: Sequence[PredictionTable], choice: EnsembleChoice) -> PredictionTable:
    """The chosen members' joint table, named "ensemble".

    Args:
        tables: tables of the candidates for one label task over the same memes, the members among them.
        choice: the choice.

    Raises:
        PredictionError: the members' tables do not fit together.
    """
    by_name = {table.candidate: table for table in tables}
    members = [by_name[name] for name in choice.members]
    return blend(members, voting=choice.voting, weights=choice.weights or None)
