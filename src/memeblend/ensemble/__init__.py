"""Ensembles on prediction tables alone: majority votes and the choice of members."""

from memeblend.ensemble.selection import MAX_CANDIDATES, EnsembleChoice, search
from memeblend.ensemble.voting import blend, majority_vote

__all__ = ["MAX_CANDIDATES", "EnsembleChoice", "blend", "majority_vote", "search"]
