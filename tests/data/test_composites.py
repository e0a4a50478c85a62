"""Composites, what leaks into the splits that judge, the paper's sizes, and the manifests that `prepare` writes."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import made_up_sets
from builders import draw_image, make_manifest, write_csv
from memeblend.cli.app import app
from memeblend.data.combining import combined
from memeblend.data.composites import compose
from memeblend.data.duplicates import hash_images
from memeblend.data.leakage import TEMPLATE_SHARING, LeakCount, find_leaks
from memeblend.data.manifest import Manifest
from memeblend.data.preparing import prepare, raw_sets
from memeblend.data.statistics import Sizes, check_composite, classes_of, sizes_of
from memeblend.errors import DataError
from memeblend.labels import SENTIMENT, LabelTask


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All the sets; not to be changed."""
    return made_up_sets.write_all(tmp_path_factory.mktemp("raw"))


def table(folder: Path, rows: list[dict[str, Any]], source: str) -> Manifest:
    """A manifest of rows (image, text, split), whose images are drawn from their number."""
    for number, row in enumerate(rows):
        draw_image(folder / f"{row['image']}.png", row["image"], (48, 40))
        row |= {"image": f"{row['image']}.png", "meme_id": f"{source}/{row['split']}/{number}", "source": source}
    write_csv(folder / "memes.csv", rows)
    return Manifest.read(folder, label_tasks=None)


class TestCombined:
    def test_memes_label_tasks_and_images_of_all(self, tmp_path: Path) -> None:
        first = make_manifest(tmp_path / "a", 4)
        second = Manifest.read(made_up_sets.write_mami(tmp_path / "b" / "mami", num_train=3, num_test=1))
        whole = combined([first, second])
        assert whole.meme_ids.tolist() == [*first.meme_ids, *second.meme_ids]
        assert whole.label_tasks == (*first.label_tasks, *second.label_tasks)
        assert whole.labels("misogynous").tolist() == [-1] * 4 + [0, 1, 0, 1]
        assert whole.image_digests() == [*first.image_digests(), *second.image_digests()]
        assert whole.root == tmp_path.resolve()
        whole.write(tmp_path / "m.parquet")
        assert Manifest.read(tmp_path / "m.parquet").fingerprint == whole.fingerprint

    def test_a_root_behind_a_link_can_be_read_again(self, tmp_path: Path) -> None:
        made_up_sets.write_mami(tmp_path / "far" / "mami")
        (tmp_path / "raw").mkdir()
        (tmp_path / "raw" / "linked").symlink_to(tmp_path / "far" / "mami")
        other = make_manifest(tmp_path / "raw" / "own", 3)
        whole = combined([Manifest.read(tmp_path / "raw" / "linked", reader="mami"), other])
        whole.write(tmp_path / "raw" / "m.parquet")
        assert len(Manifest.read(tmp_path / "raw" / "m.parquet")) == 43

    def test_what_can_not_be_one(self, tmp_path: Path) -> None:
        first = make_manifest(tmp_path / "a", 4)
        texts = Manifest(first.table.assign(image=None, source="t", meme_id=list("wxyz")), (), first.root)
        changed = LabelTask("sentiment", "nominal", SENTIMENT.classes)
        other = Manifest(first.table, (changed,), first.root)
        with pytest.raises(DataError) as caught:
            combined([first, other, texts])
        found = "\n".join(map(str, caught.value.problems))
        assert "label task sentiment: has the classes" in found
        assert found.count("comes in two sets, or in one set that was given twice") == 4
        assert "t: has no images, though other sets do" in found
        with pytest.raises(DataError, match="no memes"):
            combined([])


class TestLeaks:
    def test_each_kind_and_templates(self, tmp_path: Path) -> None:
        rows = [
            {"image": 1, "text": "the first words here", "split": "train"},  # the image of the test meme 20
            {"image": 2, "text": "the same words here!", "split": "train"},  # the text of the test meme 21
            {"image": 3, "text": "nearly its image too", "split": "train"},  # nearly the image of the test meme 22
            {"image": 4, "text": "alone in the world", "split": "train"},
            {"image": 5, "text": "ok then", "split": "train"},  # a text too short to tell
        ]
        rows += [{"image": 6, "text": f"caption number {n} it is", "split": "train"} for n in range(TEMPLATE_SHARING)]
        rows += [
            {"image": 1, "text": "other words of it", "split": "test"},
            {"image": 7, "text": "The SAME words, here", "split": "test"},
            {"image": 8, "text": "whatever it may say", "split": "test"},
            {"image": 6, "text": "caption number 3 it is", "split": "validation"},
            {"image": 9, "text": "ok then", "split": "validation"},
        ]
        manifest = table(tmp_path, rows, "own")
        hashes, _ = hash_images(manifest, cache_dir=tmp_path / "cache")
        test = [row for row, split in enumerate(manifest.splits) if split == "test"]
        hashes[2] = hashes[test[2]] ^ np.uint64(0b11 << 40)
        leaks = find_leaks(manifest, manifest.splits != "train", hashes)
        assert np.flatnonzero(leaks.rows).tolist() == [0, 1, 2, 5 + 3]
        assert [problem.what for problem in leaks.problems] == [
            "its image is that of own/test/25",
            "its text is that of own/test/26",
            "its image is nearly that of own/test/27",
            "its text is that of own/validation/28",
        ]
        assert leaks.counts == (
            LeakCount("own", "own/test", 1, 1, 1, 0),
            LeakCount("own", "own/validation", 0, 0, 1, TEMPLATE_SHARING),
        )

    def test_nothing_leaks(self, made: Path) -> None:
        composite = compose("pretrainuni", [Manifest.read(made / name) for name in ("hateful_memes", "mami")])
        hashes, _ = hash_images(composite.memes)
        leaks = composite.leaks(hashes)
        assert not leaks.rows.any()
        assert (leaks.problems, leaks.counts) == ((), ())


class TestCompose:
    def test_pretrain_clip(self, made: Path) -> None:
        sets = [Manifest.read(path, reader=reader) for path, reader in raw_sets([made])]
        composite = compose("pretrainCLIP", sets)
        own = composite.memes.take(composite.part_of)
        assert own.label_tasks == ()
        sources = pd.Series(own.table["source"])[own.splits == "train"].value_counts().to_dict()
        assert sources == {"imgflip575k": 40, "mmhs150k": 30, "hateful_memes": 32, "mami": 30, "memotion3": 28}
        assert set(own.table["source"][own.splits == "test"]) == {"hateful_memes", "mami"}
        assert all(text.strip() for text in own.texts)
        assert composite.left_out == {"no text": 10}
        others = composite.memes.take(~composite.part_of)
        assert set(zip(others.table["source"], others.splits, strict=True)) == {
            ("memotion3", "validation"),
            ("memotion3", "test"),
        }
        assert composite.judging.sum() == 18 + 12
        assert composite.sizes.counts == {"train": 160, "test": 18}
        assert composite.absent == ()

    def test_pretrainuni(self, made: Path) -> None:
        sets = [Manifest.read(made / name) for name in ("hateful_memes", "mami", "memotion3")]
        composite = compose("pretrainuni", sets)
        own = composite.memes.take(composite.part_of)
        assert [task.classes for task in own.label_tasks] == [("neither", "hateful_or_misogynous")]
        train = own.take(own.splits == "train")
        assert train.labels("hateful_or_misogynous").tolist() == [0, 1] * 31
        assert own.labels("hateful_or_misogynous")[own.splits == "test"].tolist().count(-1) == 4
        assert composite.left_out == {"of a set that is no part of it": 28}

    def test_a_set_of_ones_own_and_one_that_only_judges(self, tmp_path: Path, made: Path) -> None:
        rows = [
            {"image": number, "text": f"my words number {number}", "split": split}
            for number, split in enumerate(("train", "train", "validation"))
        ]
        own, judge = table(tmp_path / "own", rows, "own"), Manifest.read(made / "mami")
        composite = compose("pretrainCLIP", [own], [judge])
        assert composite.part_of.tolist() == [True, True, False] + [False] * 10
        assert composite.absent == ("imgflip575k", "mmhs150k", "hateful_memes", "mami")
        with pytest.raises(DataError, match="no meme for pretrainuni to train on"):
            compose("pretrainuni", [own], [judge])

    def test_memes_without_a_label_are_left_out(self, made: Path) -> None:
        hateful = Manifest.read(made / "hateful_memes")
        holes = hateful.table.assign(hateful=[None, *hateful.table["hateful"][1:]])
        composite = compose("pretrainuni", [Manifest(holes, hateful.label_tasks, hateful.root)])
        assert composite.left_out == {"no label": 1}
        assert composite.sizes.counts["train"] == 31

    def test_one_set_given_twice_and_unknown_names(self, made: Path) -> None:
        mami = Manifest.read(made / "mami")
        with pytest.raises(DataError, match="given twice"):
            compose("pretrainuni", [mami, mami])
        with pytest.raises(DataError, match="Composites are pretrainCLIP, pretrainuni"):
            compose("pretrainclip", [mami])


class TestStatistics:
    def test_sizes_beside_the_papers(self, made: Path) -> None:
        (mmhs,) = sizes_of(Manifest.read(made / "mmhs150k"))
        assert (mmhs.title, mmhs.counts, mmhs.differences) == ("MMHS150k", {"train": 30}, {"train": 30 - 59_252})
        (hateful,) = sizes_of(Manifest.read(made / "hateful_memes"))
        assert hateful.counts == {"train": 24, "validation": 8, "test": 8}
        assert not hateful.whole
        assert Sizes("mami", {"train": 10_000, "test": 1_000}, {"train": 10_000, "test": 1_000}).whole

    def test_classes_beside_the_papers(self, made: Path) -> None:
        found = {(row.label_task.name, row.split): row for row in classes_of(Manifest.read(made / "memotion3"))}
        assert found["motivational", "validation"].counts == (3, 3)
        assert found["motivational", "validation"].paper == (1457, 43)
        assert ("sentiment", "test") not in found
        assert found["sentiment", "train"].to_dict()["paper"] == {"negative": 1755, "neutral": 2970, "positive": 2275}

    def test_the_papers_own_sums(self) -> None:
        """Table 1 adds up, and table 2 has as many memes as table 1."""
        from memeblend.data.composites import MEMBERS
        from memeblend.data.sets import COMPOSITE_SIZES, SETS

        for name, members in MEMBERS.items():
            sizes = [SETS[member].sizes for member in members]
            assert sum(size["train"] + size.get("validation", 0) for size in sizes) == COMPOSITE_SIZES[name]["train"]
            assert sum(size.get("test", 0) for size in sizes) == COMPOSITE_SIZES[name]["test"]
        for splits in SETS["memotion3"].classes.values():
            assert {split: sum(counts) for split, counts in splits.items()} == {"train": 7_000, "validation": 1_500}

    def test_a_composite_of_whole_sets_must_have_the_papers_size(self) -> None:
        paper = {"train": 19_140, "test": 4_000}
        parts = [
            Sizes("hateful_memes", counts, counts)
            for counts in ({"train": 8_500, "test": 3_000, "validation": 640}, {"train": 10_000, "test": 1_000})
        ]
        check_composite(Sizes("pretrainuni", paper, paper), parts)
        check_composite(Sizes("pretrainuni", {"train": 19_147, "test": 4_000}, paper), parts, others=7)
        short = Sizes("pretrainuni", {"train": 19_139, "test": 4_000}, paper)
        with pytest.raises(DataError, match="train: has 19,139 memes, expected 19,140"):
            check_composite(short, parts)
        check_composite(short, [Sizes("mami", {"train": 9}, {"train": 10_000})])


class TestPrepare:
    def test_leaks_are_taken_out_or_kept(self, made: Path, tmp_path: Path) -> None:
        root = Path(shutil.copytree(made, tmp_path / "raw"))
        shutil.copy(root / "mami" / "Test" / "035.jpg", root / "mami" / "TRAINING" / "003.jpg")
        edited = (root / "hateful_memes" / "train.jsonl").read_text().splitlines()
        row = json.loads(edited[4]) | {"text": made_up_sets.text_of("memotion3", 29).upper()}
        edited[4] = json.dumps(row)
        (root / "hateful_memes" / "train.jsonl").write_text("\n".join(edited))
        out = tmp_path / "pretrainCLIP.parquet"
        made_up = prepare("pretrainCLIP", [root], out)
        assert (made_up.num_leaking, made_up.excluded) == (2, True)
        listed = pd.read_csv(tmp_path / "pretrainCLIP.leaks.csv").set_index("meme_id")["reason"].to_dict()
        assert listed == {
            "mami/train/003.jpg": "its image is that of mami/test/035.jpg",
            "hateful_memes/train/1004": "its text is that of memotion3/validation/1",
        }
        manifest = Manifest.read(out)
        assert manifest.fingerprint == made_up.manifest.fingerprint
        assert len(manifest) == 176
        assert not set(listed) & set(manifest.meme_ids)
        kept = prepare("pretrainCLIP", [root], out, keep_leaks=True)
        assert (len(kept.manifest), kept.num_leaking, kept.excluded) == (178, 2, False)
        assert [path.name for path in kept.lists] == [
            "pretrainCLIP.imgflip575k.listed.csv",
            "pretrainCLIP.mmhs150k.listed.csv",
            "pretrainCLIP.leaks.csv",
        ]

    def test_folders_of_one_name_are_listed_apart(self, made: Path, tmp_path: Path) -> None:
        folders = [tmp_path / place / "set" for place in "ab"]
        for name, folder in zip(("imgflip575k", "mmhs150k"), folders, strict=True):
            shutil.copytree(made / name, folder)
        found = prepare("pretrainCLIP", folders, tmp_path / "m.csv")
        assert [path.name for path in found.lists] == ["m.set.listed.csv", "m.set-2.listed.csv"]
        assert "Never-Captioned" in found.lists[0].read_text()
        assert "tie of the annotators" in found.lists[1].read_text()

    def test_bad_rows_refused_or_listed(self, made: Path, tmp_path: Path) -> None:
        folder = Path(shutil.copytree(made / "mami", tmp_path / "mami"))
        (folder / "TRAINING" / "005.jpg").unlink()
        with pytest.raises(DataError, match=r"005\.jpg' does not exist"):
            prepare("mami", [folder], tmp_path / "m.csv")
        assert not (tmp_path / "m.csv").exists()
        found = prepare("mami", [folder], tmp_path / "m.csv", skip_bad=True)
        assert len(found.manifest) == 39
        assert [path.name for path in found.lists] == ["m.rejected.csv"]
        draw_image(folder / "TRAINING" / "005.jpg", 5)
        assert prepare("mami", [folder], tmp_path / "m.csv").lists == ()
        assert not (tmp_path / "m.rejected.csv").exists()

    def test_wrong_requests(self, made: Path, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"should end in \.parquet"):
            prepare("mami", [made / "mami"], tmp_path / "m.zip")
        with pytest.raises(DataError, match="composites are pretrainCLIP, pretrainuni"):
            prepare("maami", [made / "mami"], tmp_path / "m.csv")
        with pytest.raises(DataError, match="takes one folder"):
            prepare("mami", [made / "mami", made / "mami"], tmp_path / "m.csv")
        with pytest.raises(DataError, match="no file or folder"):
            prepare("pretrainuni", [made / "gone"], tmp_path / "m.csv")


class TestCommands:
    def test_prepare(self, made: Path, tmp_path: Path) -> None:
        out = tmp_path / "pretrainuni.parquet"
        result = CliRunner().invoke(app, ["prepare", "pretrainuni", str(made), "--out", str(out), "--json"])
        assert result.exit_code == 0, result.output
        found = json.loads(result.stdout)
        assert found["splits"] == {"train": 62, "test": 18}
        assert found["sizes"][0]["paper"] == {"train": 19140, "test": 4000}
        shown = CliRunner().invoke(app, ["prepare", "mami", str(made / "mami"), "--out", str(tmp_path / "m.csv")])
        assert "30 (paper 10,000)" in shown.stdout
        assert "Wrote 40 meme(s)" in shown.stderr
        refused = CliRunner().invoke(app, ["prepare", "mami", str(made), "--out", str(out)])
        assert refused.exit_code == 1
        assert "training.csv: is not there" in refused.stderr

    def test_stats(self, made: Path, tmp_path: Path) -> None:
        prepare("pretrainuni", [made], tmp_path / "pretrainuni.parquet")
        paths = [str(tmp_path / "pretrainuni.parquet"), str(made / "memotion3")]
        shown = CliRunner().invoke(app, ["stats", *paths]).stdout
        assert "62 (paper 19,140)" in shown
        assert "Table 2: memotion3, sentiment" in shown
        found = json.loads(CliRunner().invoke(app, ["stats", *paths, "--json"]).stdout)
        assert [row["name"] for row in found["table_1"]] == ["pretrainuni", "memotion3"]
        assert {row["split"] for row in found["table_2"]} == {"train", "validation", "test"}

    def test_stats_counts_what_it_can_not_read(self, made: Path, tmp_path: Path) -> None:
        folder = Path(shutil.copytree(made / "mami", tmp_path / "mami"))
        (folder / "TRAINING" / "005.jpg").unlink()
        result = CliRunner().invoke(app, ["stats", str(folder)])
        assert "29 (paper 10,000)" in result.stdout
        assert "dropped 1 of 40 rows" in result.stderr
        assert "memeblend doctor" in result.stderr
