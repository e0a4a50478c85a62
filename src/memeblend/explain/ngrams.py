"""Contributions of n-grams to what a tfidf candidate says: exact, since it is linear in them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from memeblend.candidates.tfidf import Tfidf
from memeblend.explain.attribution import Attribution
from memeblend.explain.inputs import Meme

_NUM_SHOWN = 10
_EXACT = 1e-9


def linear_contributions(candidate: Tfidf, meme: Meme, label_task: str, class_index: int) -> Attribution | None:
    """Each n-gram's coefficient times its TF-IDF value; the value without any is the intercept.

    An n-gram's contribution is shared evenly by the places where it stands, and at each place by the words that it
    spans, so the words' scores and the intercept sum to the class's margin.

    Args:
        candidate: a fitted candidate.
        meme: the meme; its image is not looked at.
        label_task: name of the label task.
        class_index: the class to explain.

    Returns:
        None for a class that the candidate has never seen: it has probability 0 whatever the words.
    """
    logistic = candidate._models[label_task]
    seen = np.isfinite(logistic.intercepts)
    if not seen[class_index]:
        return None
    weights = logistic.coefficients[class_index] - logistic.coefficients[seen].mean(axis=0)
    baseline = float(logistic.intercepts[class_index] - logistic.intercepts[seen].mean())
    values = candidate._features([meme.text]).toarray()[0]
    words = np.zeros(len(meme.words))
    ngrams: dict[str, float] = defaultdict(float)
    start = 0
    for vectorizer in candidate._vectorizers:
        vocabulary = vectorizer.vocabulary_
        places = [(ngram, spanned) for ngram, spanned in _places(vectorizer, meme) if ngram in vocabulary]
        times = Counter(ngram for ngram, _ in places)
        for ngram, spanned in places:
            column = start + vocabulary[ngram]
            share = float(weights[column] * values[column]) / times[ngram]
            ngrams[ngram] += share
            np.add.at(words, spanned, share / len(spanned))
        start += len(vocabulary)
    largest = sorted(ngrams.items(), key=lambda item: (-abs(item[1]), item[0]))[:_NUM_SHOWN]
    return Attribution(
        candidate.name,
        "linear",
        tuple(words.tolist()),
        None,
        value=baseline + float(weights @ values),
        baseline=baseline,
        tolerance=_EXACT * max(1.0, float(np.abs(weights * values).sum())),
        ngrams=tuple(largest),
    )


def _places(vectorizer: TfidfVectorizer, meme: Meme) -> Iterator[tuple[str, list[int]]]:
    """Every n-gram of the text, once for each place where it stands, with the words that it spans (one may be named
    more than once). No token and no character n-gram reaches over white space, so words can be read one by one."""
    if vectorizer.analyzer != "word":
        analyze = vectorizer.build_analyzer()
        for place in range(len(meme.words)):
            for ngram in analyze(meme.word(place)):
                yield ngram, [place]
        return
    prepare, tokenize = vectorizer.build_preprocessor(), vectorizer.build_tokenizer()
    tokens = [(token, place) for place in range(len(meme.words)) for token in tokenize(prepare(meme.word(place)))]
    shortest, longest = vectorizer.ngram_range
    for length in range(shortest, longest + 1):
        for first in range(len(tokens) - length + 1):
            spanned = tokens[first : first + length]
            yield " ".join(token for token, _ in spanned), [place for _, place in spanned]
