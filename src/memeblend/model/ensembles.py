"""What every fitted ensemble of members can do, whatever its members run on: predict and evaluate.

Notable: importing this module imports neither torch nor transformers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memeblend.candidates.base import Member
from memeblend.data.duplicates import duplicate_groups
from memeblend.data.manifest import Manifest
from memeblend.decisions import DecisionRule
from memeblend.ensemble.selection import EnsembleChoice
from memeblend.errors import DataError, ModelError
from memeblend.evaluation.evaluate import evaluate_table
from memeblend.evaluation.metrics import task_means
from memeblend.evaluation.tables import PredictionTable
from memeblend.labels import LabelTask
from memeblend.model.memes import check_inputs, meme_digests, prior_of, splits_to_evaluate
from memeblend.model.validation import read_validation
from memeblend.model.voting import vote
from memeblend.predictions import Predictions
from memeblend.training.preprocessing import Memes, Preprocessor, prepare


class EnsembleClassifier(ABC):
    """An ensemble of members for each label task, once it is fitted; see `MemeClassifier` for the attributes."""

    data_: dict[str, Any]
    scores_: dict[str, Any]
    seen_: NDArray[np.str_]
    _candidates: Mapping[str, Member]

    def _set_state(
        self,
        label_tasks: Sequence[LabelTask],
        choices: Mapping[str, EnsembleChoice],
        rules: Mapping[str, DecisionRule],
        prior: Mapping[str, NDArray[np.float64]],
        roles: Mapping[str, Sequence[str]],
        preprocessor: Preprocessor,
        candidates: Mapping[str, Member],
        validation: Mapping[str, PredictionTable],
    ) -> None:
        self.label_tasks_ = tuple(label_tasks)
        self.classes_ = {task.name: np.array(task.classes) for task in label_tasks}
        self.choices_ = dict(choices)
        self.rules_ = dict(rules)
        self.prior_ = dict(prior)
        self.roles_ = {role: tuple(names) for role, names in roles.items()}
        self._preprocessor = preprocessor
        self._candidates = dict(candidates)
        self.validation_ = dict(validation)

    def _read_state(
        self, state: Mapping[str, Any], folder: Path, preprocessor: Preprocessor, candidates: Mapping[str, Member]
    ) -> None:
        """Take the fitted state over from a folder's file of facts.

        Raises:
            KeyError, TypeError, ValueError: the state is not what was written.
            PredictionError: a table of the validation can't be used.
        """
        tasks = [LabelTask.from_dict(task) for task in state["label_tasks"]]
        self._set_state(
            tasks,
            {name: EnsembleChoice.from_dict(choice) for name, choice in state["ensembles"].items()},
            {name: DecisionRule.from_dict(rule) for name, rule in state["rules"].items()},
            {name: np.array(prior, dtype=np.float64) for name, prior in state["prior"].items()},
            state["roles"],
            preprocessor,
            candidates,
            read_validation(folder, tasks),
        )
        self.data_ = dict(state["data"])
        self.scores_ = dict(state["scores"])
        self.seen_ = np.array(state["seen"], dtype=np.str_)

    def predict_tables(self, memes: Manifest | str | Path) -> Predictions:
        """Everything the model says of memes: classes, probabilities, members' votes.

        Labels, where the memes have them, have no influence.

        Raises:
            DataError: the memes lack what members need, or have images that can't be decoded.
            ModelError: the classifier is not fitted.
        """
        manifest = memes if isinstance(memes, Manifest) else Manifest.read(memes, label_tasks=None)
        groups = np.arange(len(manifest), dtype=np.int64)
        return self._predict(manifest, groups)

    def predict_prepared(self, memes: Memes) -> Predictions:
        """As `predict_tables`, for memes that are in memory rather than in files.

        Args:
            memes: made ready by `preprocessor_`; meme_ids distinct, images where a member reads them.

        Raises:
            DataError: there are no memes, or a member reads images and there are none.
            ModelError: the classifier is not fitted.
        """
        self._check_fitted()
        check_inputs(memes.meme_ids, [memes.images is not None] * len(memes), self._candidates)
        num_memes = len(memes)
        return self._vote(
            memes,
            splits=np.full(num_memes, "prepared", dtype=np.str_),
            groups=np.arange(num_memes, dtype=np.int64),
            labels={},
            fingerprint="",
        )

    def _predict(self, manifest: Manifest, groups: NDArray[np.int64]) -> Predictions:
        self._check_fitted()
        check_inputs(manifest.table["meme_id"].tolist(), manifest.table["image"].notna().tolist(), self._candidates)
        return self._vote(
            prepare(manifest, self._preprocessor, cache_dir=None),
            splits=manifest.splits,
            groups=groups,
            labels={task.name: manifest.labels(task.name) for task in manifest.label_tasks},
            fingerprint=manifest.fingerprint,
        )

    def _vote(self, memes: Memes, **told: Any) -> Predictions:
        return vote(self.label_tasks_, self._candidates, self.choices_, self.rules_, memes, **told)

    def predict(self, memes: Manifest | str | Path) -> Any:
        """Class names as a pandas frame: a row for each meme (its meme_id is the index), a column for each label
        task, derived ones included."""
        import pandas as pd

        tables = self.predict_tables(memes).tables
        ids = next(iter(tables.values())).meme_ids
        return pd.DataFrame(
            {name: [table.label_task.classes[i] for i in table.predicted] for name, table in tables.items()},
            index=pd.Index(ids, name="meme_id"),
        )

    def predict_proba(self, memes: Manifest | str | Path) -> dict[str, NDArray[np.float64]]:
        """Class probabilities [num_memes, num_classes] of each label task, derived ones (absent, present) included:
        the mean over the members, with the voted class carrying the highest (`memeblend.ensemble.voting.blend`)."""
        return {name: table.probabilities for name, table in self.predict_tables(memes).tables.items()}

    def score(self, memes: Manifest | str | Path, y: None = None) -> float:
        """Mean weighted F1 over the trained label tasks that have labels."""
        found = self.evaluate(memes, split="all")["label_tasks"]
        names = [task.name for task in self.label_tasks_ if task.name in found]
        return float(np.mean([found[name]["weighted_f1"] for name in names]))

    def evaluate(self, memes: Manifest | str | Path, split: str = "", *, seed: int = 0) -> dict[str, Any]:
        """Score the model on labelled memes.

        Args:
            memes: labelled memes.
            split: name of a split, several joined by "+", or "all". "" takes the split that reported when the
                model was trained where the memes have it, else all memes but those that trained or chose.
            seed: seed of the bootstrap.

        Returns:
            {"split", "num_memes", "num_seen" (how many of them trained the model or chose its members; their
            scores flatter), "label_tasks": {NAME: scores, interval, baselines, verdict ...}, "means"}; see
            `memeblend.evaluation.evaluate.evaluate_table`.

        Raises:
            DataError: no such split, or no labels of the model's label tasks.
        """
        self._check_fitted()
        manifest = (
            self._in_our_classes(memes)
            if isinstance(memes, Manifest)
            else Manifest.read(memes, label_tasks=self.label_tasks_, require_label_tasks=False)
        )
        names, shown = splits_to_evaluate(manifest, split, self.roles_["report"])
        rows = np.isin(manifest.splits, names)
        seen = np.isin(meme_digests(manifest), self.seen_)
        if not split and set(names) != set(self.roles_["report"]) and (rows & ~seen).any():
            rows &= ~seen
        part = manifest.take(rows)
        predictions = self._predict(part, duplicate_groups(part))
        results = {}
        for name, table in predictions.tables.items():
            if (table.labels >= 0).any():
                results[name] = evaluate_table(table, None, prior_of(name, self.prior_), seed=seed)
        if not results:
            raise DataError(
                f"None of these memes has a label of the model's label tasks "
                f"({', '.join(task.name for task in self.label_tasks_)}), so there is nothing to score.",
                fix="Use predict for memes without labels.",
            )
        return {
            "split": shown,
            "num_memes": len(part),
            "num_seen": int((rows & seen).sum()),
            "label_tasks": results,
            "means": task_means(results),
        }

    def _in_our_classes(self, manifest: Manifest) -> Manifest:
        """The same memes with the model's label tasks; classes are matched by name, whatever their order there.

        Raises:
            DataError: labels that are no class of the model's label task; all are listed.
        """
        names = {task.name for task in manifest.label_tasks}
        tasks = tuple(task for task in self.label_tasks_ if task.name in names)
        return Manifest(manifest.table, tasks, manifest.root)

    @property
    def members_(self) -> tuple[str, ...]:
        """Names of all members of the ensembles."""
        return tuple(sorted(self._candidates))

    @property
    def preprocessor_(self) -> Preprocessor:
        """What makes memes ready for the members.

        Raises:
            ModelError: the classifier is not fitted.
        """
        self._check_fitted()
        return self._preprocessor

    @property
    def reads_(self) -> dict[str, tuple[str, ...]]:
        """What each member reads of a meme: "text", "image" or both."""
        return {
            name: ("text",) * candidate.needs_text + ("image",) * candidate.needs_image
            for name, candidate in sorted(self._candidates.items())
        }

    def _check_fitted(self) -> None:
        if not hasattr(self, "_candidates"):
            raise ModelError("This MemeClassifier is not fitted yet.", fix="Call fit, or MemeClassifier.load(folder).")

    @property
    @abstractmethod
    def num_threads_(self) -> int:
        """Threads that the members' work is spread over."""

    @abstractmethod
    def set_num_threads(self, num_threads: int) -> None:
        """Spread the members' work over so many threads, for the thread that calls this."""
