"""Judgement: prediction tables, metrics, baselines and intervals."""

from memeblend.evaluation.baselines import baselines, class_prior
from memeblend.evaluation.evaluate import evaluate_table
from memeblend.evaluation.intervals import bootstrap_interval, paired_bootstrap
from memeblend.evaluation.metrics import confusion_counts, score_of_counts, scores, task_means
from memeblend.evaluation.tables import PredictionTable

__all__ = [
    "PredictionTable",
    "baselines",
    "bootstrap_interval",
    "class_prior",
    "confusion_counts",
    "evaluate_table",
    "paired_bootstrap",
    "score_of_counts",
    "scores",
    "task_means",
]
