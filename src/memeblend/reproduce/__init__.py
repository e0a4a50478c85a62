"""The paper's tables from the raw data sets: prepared, trained, compared number by number, and submitted."""

from memeblend.reproduce.work import Reproduction, reproduce

__all__ = ["Reproduction", "reproduce"]
