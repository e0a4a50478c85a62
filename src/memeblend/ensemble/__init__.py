"""Ensembles on prediction tables alone: votes and the choice of members."""

from memeblend.ensemble.selection import MAX_CANDIDATES, EnsembleChoice, SearchSettings, search, search_shared
from memeblend.ensemble.voting import blend, decide

__all__ = ["MAX_CANDIDATES", "EnsembleChoice", "SearchSettings", "blend", "decide", "search", "search_shared"]
