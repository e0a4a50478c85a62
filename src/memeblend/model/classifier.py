"""`MemeClassifier`: fit, predict, evaluate, save, load.

A model is a folder of safetensors and JSON: the preprocessor, the members of the chosen ensembles, the label
tasks and a model card. It is read without the training data and without a network.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memeblend.candidates.base import Candidate
from memeblend.candidates.making import load_candidate
from memeblend.data.cache import default_cache_dir
from memeblend.data.duplicates import duplicate_groups
from memeblend.data.manifest import Manifest
from memeblend.decisions import DecisionRule
from memeblend.ensemble.selection import EnsembleChoice
from memeblend.errors import DataError, ModelError
from memeblend.evaluation.baselines import class_prior
from memeblend.evaluation.evaluate import evaluate_table
from memeblend.evaluation.metrics import task_means
from memeblend.evaluation.tables import PredictionTable
from memeblend.files import file_digest, replacing_folder, write_json, write_text
from memeblend.labels import LabelTask
from memeblend.model.folder import FILE, FORMAT, files_of, read_state
from memeblend.model.memes import check_inputs, meme_digests, prior_of, splits_to_evaluate
from memeblend.model.validation import read_validation, served_validation, write_validation
from memeblend.model.voting import vote
from memeblend.predictions import Predictions
from memeblend.recipe import Recipe, dump_recipe, load_recipe
from memeblend.report.card import card_scores, model_card
from memeblend.reporting import run_report, write_run_report
from memeblend.run import Run, carry_out, read_labelled
from memeblend.training.preprocessing import Memes, Preprocessor, prepare
from memeblend.training.progress import Progress, Silent


class MemeClassifier:
    """A classifier of memes: an ensemble for each label task.

    Follows scikit-learn where it fits: the constructor only stores, `fit` returns self, fitted state ends in an
    underscore. Memes come as a `Manifest`, or as the path of a table or data-set folder.

    Args:
        recipe: a recipe, a preset's name or a TOML file.
        out: folder of the run. None works in a temporary folder and keeps the model alone.
        progress: who watches; None is silent.

    Attributes:
        label_tasks_: the trained label tasks.
        classes_: class names of each label task, in the order of `predict_proba`'s columns.
        choices_: the chosen ensemble of each label task.
        rules_: how each label task's probabilities become decisions.
        prior_: share of each class in the fit split, for each label task.
        roles_: names of the splits that fit, select and report.
        members_: names of all members.
        report_: the content of `report.json`, after `fit` alone.
        scores_: the ensembles' scores on the split that reported, as the model card shows them.
        seen_: digests of the memes that trained the model or chose its members.
        data_: source, fingerprint and number of the memes that trained it.
        validation_: what the model says of the memes that chose its members, for each trained label task.

    Example:
        >>> from memeblend import MemeClassifier
        >>> model = MemeClassifier("tiny", out="run").fit("memes.csv")  # doctest: +SKIP
        >>> model.predict("new_memes.csv")  # doctest: +SKIP
    """

    def __init__(
        self, recipe: Recipe | str | Path = "tiny", *, out: str | Path | None = None, progress: Progress | None = None
    ) -> None:
        self.recipe = recipe
        self.out = out
        self.progress = progress

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"recipe": self.recipe, "out": self.out, "progress": self.progress}

    def set_params(self, **params: Any) -> MemeClassifier:
        """Set constructor arguments.

        Raises:
            ValueError: an argument that the constructor does not have.
        """
        unknown = sorted(set(params) - set(self.get_params()))
        if unknown:
            raise ValueError(f"MemeClassifier has no parameter {', '.join(unknown)}; it has recipe, out, progress")
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def fit(self, memes: Manifest | str | Path, y: None = None) -> MemeClassifier:
        """Train candidates, choose ensembles, write report and model into the run folder.

        The same call goes on where a killed one stopped.

        Args:
            memes: labelled memes.
            y: ignored; labels are part of the memes.

        Raises:
            DataError: the memes can't be trained on; every reason at once.
            RecipeError: the recipe is wrong.
            OutputError: the run folder can't be used.
        """
        recipe = self.recipe if isinstance(self.recipe, Recipe) else load_recipe(self.recipe)
        progress = self.progress or Silent()
        manifest = memes if isinstance(memes, Manifest) else read_labelled(memes, recipe)
        folder = Path(self.out) if self.out is not None else Path(tempfile.mkdtemp(prefix="memeblend-"))
        try:
            run = carry_out(manifest, recipe, folder, cache_dir=default_cache_dir(), progress=progress)
            self._finish(run, progress)
        finally:
            if self.out is None:
                shutil.rmtree(folder, ignore_errors=True)
        return self

    @classmethod
    def from_run(cls, run: Run, *, progress: Progress | None = None) -> MemeClassifier:
        """The model of a finished run; its report and its model folder are written anew.

        Members from outside can't predict other memes, so the model has the best ensembles without them.

        Raises:
            OutputError: the run's folder can't be written.
        """
        model = cls(run.recipe, out=run.folder, progress=progress)
        model._finish(run, progress or Silent())
        return model

    def _finish(self, run: Run, progress: Progress) -> None:
        progress.start("writing report and model", 2)
        self._adopt(run, write_run_report(run))
        progress.advance(1)
        self.save(run.folder / "model")
        progress.advance(2)

    def _adopt(self, run: Run, report: Mapping[str, Any]) -> None:
        """Take the fitted state over from a run."""
        fit = run.rows("fit")
        members = sorted({name for choice in run.chosen.served.values() for name in choice.members})
        self._set_state(
            run.manifest.label_tasks,
            run.chosen.served,
            run.chosen.served_rules,
            {
                task.name: class_prior(run.manifest.labels(task.name)[fit], task.num_classes)
                for task in run.manifest.label_tasks
            },
            run.roles.to_dict(),
            run.preprocessor,
            {name: run.candidate(name) for name in members},
            served_validation(run),
        )
        self.fitted_recipe_ = run.recipe
        self.data_ = {
            "source": ", ".join(sorted(set(run.manifest.table["source"]))),
            "fingerprint": run.manifest.fingerprint,
            "num_fit": len(fit),
            "synthetic": report["synthetic"],
        }
        self.report_ = dict(report)
        # The card is of what the model holds, which has no candidates from outside.
        self.scores_ = card_scores(report if run.served is run else run_report(run.served))
        self.seen_ = np.unique(meme_digests(run.manifest.take(run.rows("fit", "select"))))

    def _set_state(
        self,
        label_tasks: Sequence[LabelTask],
        choices: Mapping[str, EnsembleChoice],
        rules: Mapping[str, DecisionRule],
        prior: Mapping[str, NDArray[np.float64]],
        roles: Mapping[str, Sequence[str]],
        preprocessor: Preprocessor,
        candidates: Mapping[str, Candidate],
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

    def save(self, folder: str | Path) -> None:
        """Write the model folder; one that is there is replaced as a whole.

        Raises:
            ModelError: the classifier is not fitted.
            OutputError: the folder could not be written.
        """
        self._check_fitted()
        with replacing_folder(folder, marker=FILE) as temporary:
            (temporary / "preprocessor").mkdir()
            self._preprocessor.save(temporary / "preprocessor")
            for name, candidate in self._candidates.items():
                (temporary / "candidates" / name).mkdir(parents=True)
                candidate.save(temporary / "candidates" / name)
            write_validation(temporary, self.validation_)
            write_text(temporary / "recipe.toml", dump_recipe(self.fitted_recipe_))
            state = {
                "format": FORMAT,
                "label_tasks": [task.to_dict() for task in self.label_tasks_],
                "ensembles": {name: choice.to_dict() for name, choice in self.choices_.items()},
                "rules": {name: rule.to_dict() for name, rule in self.rules_.items()},
                "prior": {name: prior.tolist() for name, prior in self.prior_.items()},
                "roles": {role: list(names) for role, names in self.roles_.items()},
                "data": self.data_,
                "candidates": sorted(self._candidates),
                "scores": self.scores_,
                "seen": self.seen_.tolist(),
            }
            write_text(temporary / "README.md", model_card(state))
            files = {path.relative_to(temporary).as_posix(): file_digest(path) for path in files_of(temporary)}
            write_json(temporary / FILE, state | {"files": files})

    @classmethod
    def load(cls, folder: str | Path, *, progress: Progress | None = None) -> MemeClassifier:
        """Read a model folder, or the model of a run folder.

        Raises:
            ModelError: it is not a memeblend model, is cut short or was altered.
        """
        folder = Path(folder)
        folder = folder / "model" if (folder / "model" / FILE).is_file() else folder
        state = read_state(folder)
        try:
            model = cls(load_recipe(folder / "recipe.toml"), progress=progress)
            tasks = [LabelTask.from_dict(task) for task in state["label_tasks"]]
            model._set_state(
                tasks,
                {name: EnsembleChoice.from_dict(choice) for name, choice in state["ensembles"].items()},
                {name: DecisionRule.from_dict(rule) for name, rule in state["rules"].items()},
                {name: np.array(prior, dtype=np.float64) for name, prior in state["prior"].items()},
                state["roles"],
                Preprocessor.load(folder / "preprocessor"),
                {name: load_candidate(name, folder / "candidates" / name) for name in state["candidates"]},
                read_validation(folder, tasks),
            )
            model.data_ = dict(state["data"])
            model.scores_ = dict(state["scores"])
            model.seen_ = np.array(state["seen"], dtype=np.str_)
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"'{folder / FILE}' is not what memeblend wrote: {error}.") from error
        assert isinstance(model.recipe, Recipe), "load_recipe gives a Recipe"
        model.fitted_recipe_ = model.recipe
        return model

    @property
    def members_(self) -> tuple[str, ...]:
        """Names of all members of the ensembles."""
        return tuple(sorted(self._candidates))

    @property
    def candidates_(self) -> Mapping[str, Candidate]:
        """The members by name.

        Raises:
            ModelError: the classifier is not fitted.
        """
        self._check_fitted()
        return MappingProxyType(self._candidates)

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
