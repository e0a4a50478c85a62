"""What an explanation holds, as JSON and as a page."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from memeblend.candidates.knn import Precedent
from memeblend.explain.attribution import Attribution
from memeblend.explain.inputs import Span
from memeblend.explain.modalities import Irony, ModalitySplit
from memeblend.explain.votes import Vote
from memeblend.labels import LabelTask

ENSEMBLE = "ensemble"
"""What attributions of the joint decision are called."""

Background = Literal["neutral", "memes"]
"""What stands in for a modality that is taken away: the empty text and the mean grey image, or those of other memes."""


@dataclass(frozen=True)
class TaskExplanation:
    """Why one label task was decided as it was.

    Attributes:
        label_task: the label task.
        decided: index of the class decided for.
        explained: index of the class that attributions and members' splits are about.
        probabilities: of the ensemble [num_classes].
        splits: the ensemble's split for each class.
        irony: of the ensemble, each modality alone being the counterfactuals of `splits`.
        votes: of every member.
        member_splits: for each member in the order of `votes`, its split of the explained class.
        branch_ironies: for each member that trained branches of its own for text and image, the irony between these.
        attributions: the ensemble's, then every member's.
        precedents: for each nearest-neighbour member, the remembered memes most like this one.
    """

    label_task: LabelTask
    decided: int
    explained: int
    probabilities: tuple[float, ...]
    splits: tuple[ModalitySplit, ...]
    irony: Irony
    votes: tuple[Vote, ...]
    member_splits: tuple[ModalitySplit, ...]
    branch_ironies: tuple[tuple[str, Irony], ...]
    attributions: tuple[Attribution, ...]
    precedents: tuple[tuple[str, tuple[Precedent, ...]], ...]

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types; classes by name."""
        classes = self.label_task.classes

        def by_class(values: tuple[float, ...]) -> dict[str, float]:
            return dict(zip(classes, values, strict=True))

        return {
            "class": classes[self.decided],
            "explained_class": classes[self.explained],
            "probabilities": by_class(self.probabilities),
            "modalities": {name: _split(split) for name, split in zip(classes, self.splits, strict=True)},
            "irony": self.irony.index,
            "alone": {"text": by_class(self.irony.text), "image": by_class(self.irony.image)},
            "members": {
                vote.member: {
                    "class": classes[vote.class_index],
                    "probabilities": by_class(vote.probabilities),
                    "weight": vote.weight,
                    "modalities": _split(split),
                    "without": None if vote.without is None else classes[vote.without],
                    "if_sure": {name: classes[one] for name, one in zip(classes, vote.if_sure, strict=True)},
                    "pivotal": vote.pivotal,
                    "could_change": vote.could_change,
                }
                for vote, split in zip(self.votes, self.member_splits, strict=True)
            },
            "branch_irony": {member: one.index for member, one in self.branch_ironies},
            "attributions": [_attribution(one) for one in self.attributions],
            "precedents": {member: [_plain(asdict(one)) for one in found] for member, found in self.precedents},
        }


@dataclass(frozen=True)
class Explanation:
    """Why a model decided on a meme as it did.

    Attributes:
        text: the meme's ocr_text.
        words: where the words that have scores are in the text.
        side: patches on each side of the image.
        picture: the image as the encoders see it, a PNG file; None without an image.
        background: what stood in for a modality that was taken away.
        num_backgrounds: how many of these were averaged.
        label_tasks: every label task that was asked for.
        notes: what a reader should know of it.
    """

    text: str
    words: tuple[Span, ...]
    side: int
    picture: bytes | None
    background: Background
    num_backgrounds: int
    label_tasks: tuple[TaskExplanation, ...]
    notes: tuple[str, ...]

    def __getitem__(self, label_task: str) -> TaskExplanation:
        """The explanation of a label task.

        Raises:
            KeyError: it was not asked for.
        """
        return {one.label_task.name: one for one in self.label_tasks}[label_task]

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types, the picture left out."""
        return {
            "text": self.text,
            "words": [self.text[start:end] for start, end in self.words],
            "has_image": self.picture is not None,
            "patches_per_side": self.side,
            "background": self.background,
            "num_backgrounds": self.num_backgrounds,
            "label_tasks": {one.label_task.name: one.to_dict() for one in self.label_tasks},
            "notes": list(self.notes),
        }

    def to_html(self) -> str:
        """A page that holds all it needs and loads nothing; texts are escaped."""
        from memeblend.explain.page import rendered

        return rendered(self)


def _split(split: ModalitySplit) -> dict[str, Any]:
    own: dict[str, Any] = _plain(asdict(split))
    shapley = {"text": split.shapley_text, "image": split.shapley_image}
    return own | {"value": split.value, "shapley": shapley}


def _attribution(one: Attribution) -> dict[str, Any]:
    own: dict[str, Any] = _plain(asdict(one))
    return own | {"total": one.total, "delta": one.delta, "complete": one.complete}


def _plain(value: Any) -> Any:
    """Tuples as lists, all the way down."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, tuple | list) else value
