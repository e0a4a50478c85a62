"""`MemeClassifier`: fit, predict, evaluate, save, load.

A model is a folder of safetensors and JSON: the preprocessor, the members of the chosen ensembles, the label
tasks and a model card. It is read without the training data and without a network.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from memeblend.candidates.base import Candidate
from memeblend.candidates.making import load_candidate
from memeblend.data.cache import default_cache_dir
from memeblend.data.manifest import Manifest
from memeblend.errors import ModelError
from memeblend.evaluation.baselines import class_prior
from memeblend.files import file_digest, replacing_folder, write_json, write_text
from memeblend.model.card import write_card
from memeblend.model.ensembles import EnsembleClassifier
from memeblend.model.folder import FILE, FORMAT, files_of, model_folder, read_state
from memeblend.model.memes import meme_digests
from memeblend.model.validation import served_validation, write_validation
from memeblend.recipe import Recipe, dump_recipe, load_recipe
from memeblend.report.card import card_scores
from memeblend.reporting import run_report, write_run_report
from memeblend.run import Run, carry_out, read_labelled
from memeblend.training.preprocessing import Preprocessor
from memeblend.training.progress import Progress, Silent

if TYPE_CHECKING:
    from PIL.Image import Image

    from memeblend.explain.explanation import Explanation


class MemeClassifier(EnsembleClassifier):
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

    _candidates: Mapping[str, Candidate]

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
            write_card(temporary, state)
            files = {path.relative_to(temporary).as_posix(): file_digest(path) for path in files_of(temporary)}
            write_json(temporary / FILE, state | {"files": files})

    @classmethod
    def load(cls, folder: str | Path, *, progress: Progress | None = None) -> MemeClassifier:
        """Read a model folder, or the model of a run folder.

        Raises:
            ModelError: it is not a memeblend model, is cut short or was altered.
        """
        folder = model_folder(folder)
        state = read_state(folder)
        try:
            model = cls(load_recipe(folder / "recipe.toml"), progress=progress)
            model._read_state(
                state,
                folder,
                Preprocessor.load(folder / "preprocessor"),
                {name: load_candidate(name, folder / "candidates" / name) for name in state["candidates"]},
            )
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise ModelError(f"'{folder / FILE}' is not what memeblend wrote: {error}.") from error
        assert isinstance(model.recipe, Recipe), "load_recipe gives a Recipe"
        model.fitted_recipe_ = model.recipe
        return model

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        revision: str | None = None,
        token: str | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
    ) -> MemeClassifier:
        """Read a model from a folder where there is one of this name, else from the Hugging Face hub.

        Args:
            name: a model folder, a run, or the name of a repository, "user/name".
            revision: branch, tag or commit of the repository.
            token: of the hub; the one that `hf auth login` or HF_TOKEN left when None.
            cache_dir: where fetched files are kept; the hub's own cache when None.
            local_files_only: take what the cache holds and ask nobody.

        Raises:
            HubError: there is no such repository or revision, or the hub refuses or does not answer.
            ModelError: what was found is not a whole memeblend model.
        """
        if Path(name).exists():
            return cls.load(name)
        from memeblend.model.hub import fetch

        folder = fetch(
            str(name), revision=revision, token=token, cache_dir=cache_dir, local_files_only=local_files_only
        )
        return cls.load(folder)

    def push(self, repo: str, *, private: bool = True, revision: str | None = None, token: str | None = None) -> str:
        """Send the model to a repository of the Hugging Face hub; see `memeblend.model.hub.push`.

        Returns:
            Address of the commit.

        Raises:
            ModelError: the classifier is not fitted.
            HubError: the hub refuses or does not answer.
        """
        from memeblend.model.hub import push

        with tempfile.TemporaryDirectory(prefix="memeblend-") as folder:
            self.save(Path(folder) / "model")
            return push(Path(folder) / "model", repo, private=private, revision=revision, token=token)

    def explain(self, image: str | Path | Image | None, text: str = "", **options: Any) -> Explanation:
        """Why the model decides on a meme as it does: words, patches, modalities, votes, precedents.

        Args:
            image: an image file or an image in memory; None where no member reads images.
            text: the ocr_text; may be empty.
            options: label_task, class_name, background, cheap, side, num_precedents; see
                `memeblend.explain.explaining.explain`.

        Raises:
            DataError: no such label task or class, or no image for members that read images.
            ImageError: the image can't be decoded.
            MissingExtraError: Captum is not installed, and `cheap` was not asked for.
            ModelError: the classifier is not fitted.
        """
        from memeblend.explain.explaining import explain

        return explain(self, image, text, **options)

    @property
    def candidates_(self) -> Mapping[str, Candidate]:
        """The members by name.

        Raises:
            ModelError: the classifier is not fitted.
        """
        self._check_fitted()
        return MappingProxyType(self._candidates)

    @property
    def num_threads_(self) -> int:
        """Threads that the members' work is spread over; torch has one number for the whole process."""
        import torch

        return torch.get_num_threads()

    def set_num_threads(self, num_threads: int) -> None:
        """Spread the members' work over so many threads, for the thread that calls this."""
        import torch

        torch.set_num_threads(num_threads)
