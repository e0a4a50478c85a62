"""Do the words tell anything of the labels? A cheap probe that no image can help."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from memeblend.data.doctor.findings import TextSignal
from memeblend.data.duplicates import words
from memeblend.data.manifest import Manifest
from memeblend.data.splits import choose_groups, class_counts
from memeblend.labels import MISSING, LabelTask

NOISE_KAPPA = 0.1
"""Below this agreement beyond chance the labels are called close to noise for text alone.

Measured with this probe on the training parts: Memotion 1 -.02 to .02 over its five label tasks, CM-Off-Meme .23 to
.39, HarMeme .36 and .47.
"""
MIN_MEMES = 200
"""Fewer labelled texts can't tell a kappa of .1 from 0 (its standard error is about 1 / sqrt(num_memes))."""
_MAX_MEMES = 10_000
_NUM_FOLDS = 3


def text_signals(
    manifest: Manifest, groups: NDArray[np.int64], advance: Callable[[int], None], seed: int = 0
) -> dict[str, TextSignal | None]:
    """Probe every label task.

    Folds keep duplicate groups whole, or a repeated text would be recognised instead of understood.

    Args:
        manifest: the memes that train.
        groups: duplicate group per meme [num_memes].
        advance: told of the number of finished folds.
        seed: of the folds.
    """
    random = np.random.default_rng(seed)
    told = np.flatnonzero([bool(words(text)) for text in manifest.texts])
    if len(told) > _MAX_MEMES:
        told = np.sort(random.choice(told, _MAX_MEMES, replace=False))
    manifest, groups = manifest.take(told), groups[told]
    tasks = [task for task in manifest.label_tasks if _enough(manifest.labels(task.name))]
    found: dict[str, TextSignal | None] = {task.name: None for task in manifest.label_tasks}
    if tasks:
        folds = _folds(manifest, groups, random)
        predicted = _predict(manifest, tasks, folds, advance)
        for task in tasks:
            found[task.name] = _signal(task, manifest.labels(task.name), predicted[task.name])
    return found


def _enough(labels: NDArray[np.int64]) -> bool:
    support = np.bincount(labels[labels != MISSING])
    return bool(support.sum() >= MIN_MEMES and np.sum(support >= _NUM_FOLDS) >= 2)


def _folds(manifest: Manifest, groups: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.int64]:
    """Number of the fold that each meme is tested in [num_memes]; classes in proportion, groups whole."""
    number = np.unique(groups, return_inverse=True)[1]
    contents = class_counts(manifest, np.arange(len(manifest)), number)
    fold = np.zeros(len(contents), dtype=np.int64)
    left = np.arange(len(contents))
    for parts in range(_NUM_FOLDS, 1, -1):
        chosen = choose_groups(contents[left], 1 / parts, random)
        fold[left[chosen]] = parts - 1
        left = left[~chosen]
    return fold[number]


def _predict(
    manifest: Manifest, tasks: list[LabelTask], folds: NDArray[np.int64], advance: Callable[[int], None]
) -> dict[str, NDArray[np.int64]]:
    """Classes that the probe predicts for each meme from the other folds; -1 where it could not learn any."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    texts = [" ".join(words(text)) for text in manifest.texts]
    predicted = {task.name: np.full(len(manifest), MISSING, dtype=np.int64) for task in tasks}
    for fold in range(_NUM_FOLDS):
        test = folds == fold
        fitted = [text for text, is_test in zip(texts, test, strict=True) if not is_test]
        vectorizer = TfidfVectorizer(token_pattern=r"\S+", ngram_range=(1, 2), sublinear_tf=True).fit(fitted)
        features = vectorizer.transform(texts)
        for task in tasks:
            labels = manifest.labels(task.name)
            known = ~test & (labels != MISSING)
            if len(np.unique(labels[known])) < 2:
                continue
            model = LogisticRegression(class_weight="balanced", max_iter=200)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                model.fit(features[known], labels[known])
            predicted[task.name][test] = model.predict(features[test])
        advance(fold + 1)
    return predicted


def _signal(task: LabelTask, labels: NDArray[np.int64], predicted: NDArray[np.int64]) -> TextSignal | None:
    from sklearn.metrics import cohen_kappa_score

    scored = (labels != MISSING) & (predicted != MISSING)
    labels, predicted = labels[scored], predicted[scored]
    if len(labels) < MIN_MEMES or len(np.unique(labels)) < 2:
        return None
    constants = [f1_scores(labels, np.full_like(labels, index)) for index in range(task.num_classes)]
    weighted_f1, macro_f1 = f1_scores(labels, predicted)
    kappa = float(cohen_kappa_score(labels, predicted))
    return TextSignal(
        num_memes=len(labels),
        weighted_f1=weighted_f1,
        macro_f1=macro_f1,
        constant_weighted_f1=max(weighted for weighted, _ in constants),
        constant_macro_f1=max(macro for _, macro in constants),
        kappa=kappa,
        near_noise=kappa < NOISE_KAPPA,
    )


def f1_scores(labels: NDArray[np.int64], predicted: NDArray[np.int64]) -> tuple[float, float]:
    """Weighted and macro F1; classes that are neither true nor predicted count for neither.

    Args:
        labels: true class indices [num_memes], none missing.
        predicted: predicted class indices [num_memes].
    """
    from sklearn.metrics import f1_score

    weighted, macro = (
        float(f1_score(labels, predicted, average=average, zero_division=0)) for average in ("weighted", "macro")
    )
    return weighted, macro
