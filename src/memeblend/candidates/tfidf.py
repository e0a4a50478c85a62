"""`tfidf`: word and character n-grams with logistic regression.

The floor: a neural candidate that does not clear it is not worth its training.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from scipy.sparse import csr_matrix, hstack
from sklearn.feature_extraction.text import TfidfVectorizer

from memeblend.candidates.base import Candidate, FitContext
from memeblend.candidates.logistic import Logistic
from memeblend.errors import ModelError, TrainingError
from memeblend.files import write_json
from memeblend.labels import MISSING
from memeblend.recipe.candidates import TfidfCandidate
from memeblend.training.preprocessing import Memes

_SETTINGS, _WEIGHTS = "tfidf.json", "tfidf.safetensors"


class Tfidf(Candidate):
    """TF-IDF of words and of characters inside words, then a logistic regression for each label task.

    Stored as vocabulary and coefficients, never as a pickle.

    Args:
        name: kind and number.
        spec: its part of the recipe.
        number: copy number; picks one of the specification's regularisation strengths.
    """

    needs_text = True
    needs_image = False

    def __init__(self, name: str, spec: TfidfCandidate, number: int) -> None:
        self.name = name
        self.spec = spec
        self.number = number

    def fit(self, context: FitContext) -> None:
        """Fit vectorizers and one logistic regression for each label task."""
        strengths = self.spec.inverse_regularization
        strength = strengths[self.number % len(strengths)]
        context.progress.start(self.name, len(context.label_tasks))
        self._vectorizers = _vectorizers(self.spec.word_ngrams, self.spec.char_ngrams)
        try:
            for vectorizer in self._vectorizers:
                vectorizer.fit(context.fit.texts)
        except ValueError as error:
            raise TrainingError(
                f"Candidate '{self.name}' could not be trained: the texts of the fit split hold no words.",
                fix="Leave tfidf out of the recipe's candidates, or give the memes their ocr_text.",
            ) from error
        features = self._features(context.fit.texts)
        self._models: dict[str, Logistic] = {}
        for column, task in enumerate(context.label_tasks):
            labels = context.fit_labels[:, column]
            known = labels != MISSING
            self._models[task.name] = Logistic.fit(
                features[known],
                labels[known],
                task.num_classes,
                strength=strength,
                class_weights=self.spec.class_weights,
            )
            context.progress.advance(column + 1)

    def _features(self, texts: list[str]) -> csr_matrix:
        return csr_matrix(hstack([vectorizer.transform(texts) for vectorizer in self._vectorizers]))

    def predict(self, memes: Memes) -> Mapping[str, NDArray[np.float64]]:
        """Softmax of the logistic regressions' logits."""
        features = self._features(memes.texts)
        return {name: model.probabilities(features) for name, model in self._models.items()}

    def save(self, folder: Path) -> None:
        """Vocabularies as JSON, frequencies and coefficients as safetensors."""
        words, chars = self._vectorizers
        write_json(
            folder / _SETTINGS,
            {
                "spec": self.spec.model_dump(mode="json"),
                "number": self.number,
                "vocabularies": [_terms(words), _terms(chars)],
                "label_tasks": list(self._models),
            },
        )
        tensors = {"idf.0": words.idf_, "idf.1": chars.idf_}
        for position, model in enumerate(self._models.values()):
            tensors |= model.tensors(position)
        save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, folder / _WEIGHTS)

    @classmethod
    def load(cls, name: str, folder: Path) -> Tfidf:
        """The inverse of `save`."""
        try:
            settings = json.loads((folder / _SETTINGS).read_text(encoding="utf-8"))
            tensors = load_file(folder / _WEIGHTS)
            candidate = cls(name, TfidfCandidate.model_validate(settings["spec"]), int(settings["number"]))
            candidate._vectorizers = _vectorizers(candidate.spec.word_ngrams, candidate.spec.char_ngrams)
            for position, vectorizer in enumerate(candidate._vectorizers):
                vectorizer.vocabulary_ = {term: i for i, term in enumerate(settings["vocabularies"][position])}
                vectorizer.idf_ = tensors[f"idf.{position}"]
            candidate._models = {
                task: Logistic.from_tensors(tensors, position) for position, task in enumerate(settings["label_tasks"])
            }
        except Exception as error:
            raise ModelError(f"Candidate '{name}' in '{folder}' could not be read: {error}.") from error
        return candidate


def _vectorizers(word_ngrams: tuple[int, int], char_ngrams: tuple[int, int]) -> list[TfidfVectorizer]:
    shared: dict[str, Any] = {"sublinear_tf": True, "strip_accents": "unicode", "dtype": np.float64}
    return [
        TfidfVectorizer(analyzer="word", ngram_range=word_ngrams, token_pattern=r"(?u)\b\w+\b", **shared),
        TfidfVectorizer(analyzer="char_wb", ngram_range=char_ngrams, **shared),
    ]


def _terms(vectorizer: TfidfVectorizer) -> list[str]:
    return sorted(vectorizer.vocabulary_, key=vectorizer.vocabulary_.__getitem__)
