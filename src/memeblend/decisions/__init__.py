"""Decisions from probabilities: calibration, thresholds, costs, class shares, presence; and what each gains."""

from memeblend.decisions.fitting import DecisionSettings, fit_rule
from memeblend.decisions.rule import DecisionRule
from memeblend.decisions.study import DecisionStudy, OptionStudy, study

__all__ = ["DecisionRule", "DecisionSettings", "DecisionStudy", "OptionStudy", "fit_rule", "study"]
