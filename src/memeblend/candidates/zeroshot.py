"""`zeroshot`: a class is as likely as the meme is similar to prompts that describe it. Nothing is trained.

Radford et al. 2021 ("Learning Transferable Visual Models From Natural Language Supervision", section 3.1), with the
ocr_text's similarity beside the image's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from torch import Tensor
from torch.nn.functional import normalize

from memeblend.candidates.base import Candidate, FitContext
from memeblend.candidates.features import pooled, ready, ready_encoders, save_encoders, texts_for
from memeblend.candidates.logistic import softmax
from memeblend.candidates.states import READ_ERRORS, near
from memeblend.errors import ModelError, Problem, RecipeError
from memeblend.files import replacing, write_json
from memeblend.labels import LabelTask
from memeblend.models.pair import image_embeds, load_encoders, text_embeds
from memeblend.recipe.candidates import ZeroshotCandidate
from memeblend.training.preprocessing import Memes, Preprocessor

_SETTINGS, _PROMPTS, _ENCODERS = "zeroshot.json", "zeroshot.safetensors", "encoders"


class Zeroshot(Candidate):
    """Softmax over the scaled cosines of a meme with each class's prompts in the encoders' joint space.

    The cosine is (1 - text_weight) times the image's plus text_weight times the ocr_text's; a meme without words is
    judged by its image alone. Several prompts of a class are averaged as embeddings of length one.

    Args:
        name: kind and number.
        spec: its part of the recipe.
    """

    def __init__(self, name: str, spec: ZeroshotCandidate) -> None:
        self.name = name
        self.spec = spec
        self.needs_text = spec.text_weight > 0
        self.needs_image = spec.text_weight < 1

    def fit(self, context: FitContext) -> None:
        """Embed the prompts; no meme is looked at.

        Raises:
            RecipeError: prompts for a label task or class that the memes don't have, all of them listed.
        """
        self._check(context.label_tasks)
        self.label_tasks = context.label_tasks
        self.encoders = ready_encoders(context)
        self._prompts: dict[str, NDArray[np.float32]] = {}
        context.progress.start(self.name, len(self.label_tasks))
        for position, task in enumerate(self.label_tasks):
            of_classes = [self._embedded(self.prompts(task, one), context.fit.preprocessor) for one in task.classes]
            self._prompts[task.name] = torch.stack(of_classes).numpy()
            context.progress.advance(position + 1)

    def prompts(self, task: LabelTask, class_name: str) -> tuple[str, ...]:
        """The prompts of a class: those of the recipe, or "a meme that is CLASS"."""
        given = self.spec.prompts.get(task.name, {}).get(class_name, ())
        return given or (f"a meme that is {class_name.replace('_', ' ')}",)

    def _check(self, label_tasks: Sequence[LabelTask]) -> None:
        classes = {task.name: task.classes for task in label_tasks}
        problems = []
        for name, by_class in self.spec.prompts.items():
            if name not in classes:
                problems.append(Problem(f"prompts.{name}", f"no such label task. {near(name, classes)}"))
                continue
            unknown = [one for one in by_class if one not in classes[name]]
            problems += [
                Problem(f"prompts.{name}.{one}", f"no such class. {near(one, classes[name])}") for one in unknown
            ]
        if problems:
            raise RecipeError(
                f"Candidate '{self.name}' has prompts for what these memes don't have:", problems=problems
            )

    @torch.inference_mode()
    def _embedded(self, prompts: Sequence[str], preprocessor: Preprocessor) -> Tensor:
        """The class's embedding [d], of length one: the mean over its prompts'."""
        input_ids, attention_mask = preprocessor.pad(preprocessor.token_ids(prompts))
        embeds = self._of_texts({"input_ids": input_ids, "attention_mask": attention_mask})
        return normalize(embeds.mean(dim=0), dim=0).float().cpu()

    def predict(self, memes: Memes) -> Mapping[str, NDArray[np.float64]]:
        """Softmax over the classes of logit_scale times the cosine."""
        width = next(iter(self._prompts.values())).shape[1]
        meme = np.zeros((len(memes), width))  # a class's cosine is linear in it, so text and image mix here
        weight = np.full((len(memes), 1), self.spec.text_weight)
        if self.needs_image:
            weight[[not text.strip() for text in memes.texts]] = 0.0
            meme += (1 - weight) * pooled(self._of_images, memes, text=False, image=True)
        if self.needs_text:
            meme += weight * pooled(self._of_texts, memes, text=True, image=False)
        scale = float(self.encoders.logit_scale.detach().exp())
        return {name: softmax(scale * (meme @ prompts.T)) for name, prompts in self._prompts.items()}

    def save(self, folder: Path) -> None:
        """The encoders in Hugging Face's layout, the prompts' embeddings as safetensors."""
        save_encoders(self.encoders, folder / _ENCODERS)
        with replacing(folder / _PROMPTS) as temporary:
            save_file({str(position): value for position, value in enumerate(self._prompts.values())}, temporary)
        tasks = [task.to_dict() for task in self.label_tasks]
        write_json(folder / _SETTINGS, {"spec": self.spec.model_dump(mode="json"), "label_tasks": tasks})

    @classmethod
    def load(cls, name: str, folder: Path) -> Zeroshot:
        """The inverse of `save`."""
        try:
            settings = json.loads((folder / _SETTINGS).read_text(encoding="utf-8"))
            candidate = cls(name, ZeroshotCandidate.model_validate(settings["spec"]))
            candidate.label_tasks = tuple(LabelTask.from_dict(task) for task in settings["label_tasks"])
            prompts = load_file(folder / _PROMPTS)
            candidate._prompts = {
                task.name: prompts[str(position)].copy() for position, task in enumerate(candidate.label_tasks)
            }
            candidate.encoders = ready(load_encoders(folder / _ENCODERS))
        except READ_ERRORS as error:
            raise ModelError(f"Candidate '{name}' in '{folder}' could not be read: {error}.") from error
        return candidate

    def _of_texts(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Texts in the joint space [B, d], of length one."""
        return normalize(text_embeds(self.encoders, *texts_for(self.encoders, inputs)), dim=1)

    def _of_images(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Images in the joint space [B, d], of length one."""
        return normalize(image_embeds(self.encoders, inputs["pixel_values"].to(self.encoders.device)), dim=1)
