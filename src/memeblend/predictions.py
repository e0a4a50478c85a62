"""What a model says of memes: a class for each label task, its probabilities, and the members' votes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from memeblend.errors import DataError
from memeblend.evaluation.tables import PredictionTable
from memeblend.files import replacing

SUFFIXES = (".csv", ".jsonl", ".parquet")


def check_suffix(path: Path) -> None:
    """Refuse a file whose suffix says no way of writing predictions.

    Raises:
        DataError: another suffix than `SUFFIXES`.
    """
    if path.suffix not in SUFFIXES:
        raise DataError(f"'{path}' should end in {', '.join(SUFFIXES)}; its suffix says how it is written.")


class TextRead(NamedTuple):
    """What was read in the image of a meme that came without text.

    Attributes:
        text: "" where nothing was found.
        engine: what read it.
        confidence: how sure it is, from 0 to 1.
    """

    text: str
    engine: str
    confidence: float


@dataclass(frozen=True, eq=False)
class Predictions:
    """Predictions of a model.

    Attributes:
        tables: the ensemble's prediction table of each label task, derived ones included.
        members: the members' prediction tables of each trained label task.
        policy: what a policy says of each meme (`Policy.decide`); empty without one.
        read: what was read in each meme's image; empty where the memes came with their texts.
    """

    tables: Mapping[str, PredictionTable]
    members: Mapping[str, tuple[PredictionTable, ...]]
    policy: Sequence[Mapping[str, Any]] = ()
    read: Sequence[TextRead] = ()

    def to_records(self) -> list[dict[str, Any]]:
        """One dictionary a meme.

        Returns:
            {"meme_id": ..., "label_tasks": {NAME: {"class", "probabilities": {CLASS: p}, "votes": {MEMBER: CLASS}}}};
            derived label tasks have no votes of their own. Under a policy also "policy", see `Policy.decide`;
            where texts were read also "ocr_text" and "ocr": {"engine", "confidence"}.
        """
        ids = next(iter(self.tables.values())).meme_ids.tolist()
        records: list[dict[str, Any]] = [{"meme_id": meme_id, "label_tasks": {}} for meme_id in ids]
        for name, table in self.tables.items():
            classes = table.label_task.classes
            votes = {member.candidate: member.predicted.tolist() for member in self.members.get(name, ())}
            decided, probabilities = table.predicted.tolist(), table.probabilities.tolist()
            for row, record in enumerate(records):
                entry: dict[str, Any] = {
                    "class": classes[decided[row]],
                    "probabilities": {
                        label: round(value, 6) for label, value in zip(classes, probabilities[row], strict=True)
                    },
                }
                if votes:
                    entry["votes"] = {member: classes[cast[row]] for member, cast in votes.items()}
                record["label_tasks"][name] = entry
        for record, said in zip(records, self.policy, strict=bool(self.policy)):
            record["policy"] = dict(said)
        for record, read in zip(records, self.read, strict=bool(self.read)):
            record |= {"ocr_text": read.text, "ocr": {"engine": read.engine, "confidence": read.confidence}}
        return records

    def to_frame(self) -> pd.DataFrame:
        """One row a meme: meme_id, where texts were read ocr_text and ocr_confidence, then for each label task NAME,
        NAME_p_CLASS for each class, and NAME_votes (the members' classes as JSON). Under a policy also verdict, and
        NAME_verdict, NAME_calibrated, NAME_low and NAME_high (the interval) of each category, and NAME_set (classes as
        JSON) of each label task."""
        columns: dict[str, Any] = {"meme_id": next(iter(self.tables.values())).meme_ids.tolist()}
        if self.read:
            columns["ocr_text"] = [read.text for read in self.read]
            columns["ocr_confidence"] = [read.confidence for read in self.read]
        for name, table in self.tables.items():
            classes = table.label_task.classes
            columns[name] = [classes[index] for index in table.predicted]
            for index, label in enumerate(classes):
                columns[f"{name}_p_{label}"] = table.probabilities[:, index].round(6)
            members = self.members.get(name, ())
            if members:
                columns[f"{name}_votes"] = [
                    json.dumps(dict(zip((member.candidate for member in members), row, strict=True)))
                    for row in zip(*[[classes[i] for i in member.predicted] for member in members], strict=True)
                ]
        return pd.DataFrame(columns | self._policy_columns())

    def _policy_columns(self) -> dict[str, Any]:
        if not self.policy:
            return {}
        columns: dict[str, Any] = {"verdict": [said["verdict"] for said in self.policy]}
        for name in self.policy[0]["categories"]:
            found = [said["categories"][name] for said in self.policy]
            columns[f"{name}_verdict"] = [one["verdict"] for one in found]
            columns[f"{name}_calibrated"] = [one["calibrated"] for one in found]
            for position, end in enumerate(("low", "high")):
                columns[f"{name}_{end}"] = [one["interval"] and one["interval"][position] for one in found]
        for name in self.policy[0]["sets"]:
            columns[f"{name}_set"] = [json.dumps(said["sets"][name], ensure_ascii=False) for said in self.policy]
        return columns

    def write(self, path: str | Path) -> None:
        """Write as .csv, .jsonl (nested as in `to_records`) or .parquet, by the suffix.

        Raises:
            DataError: another suffix.
            OutputError: the file could not be written.
        """
        path = Path(path)
        check_suffix(path)
        with replacing(path) as temporary:
            match path.suffix:
                case ".csv":
                    self.to_frame().to_csv(temporary, index=False)
                case ".parquet":
                    self.to_frame().to_parquet(temporary, index=False)
                case _:
                    lines = (json.dumps(record, ensure_ascii=False) + "\n" for record in self.to_records())
                    temporary.write_text("".join(lines), encoding="utf-8")
