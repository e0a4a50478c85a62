"""The doctor: planted faults are found, a sound set is called ready, and what is shown can be read."""

import io
import json

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from builders import draw_image, make_manifest, write_csv, write_memotion1
from memeblend.data.doctor import Diagnosis, diagnose, examine, render
from memeblend.errors import DataError, Problem
from memeblend.labels import SENTIMENT, LabelTask

RUDE = LabelTask("rude", "binary", ("polite", "rude"))
KIND_WORDS = ["lovely", "sweet", "friend", "sunshine", "hug", "garden", "smile", "puppy", "cake", "gentle"]
RUDE_WORDS = ["stupid", "ugly", "trash", "loser", "idiot", "dumb", "garbage", "awful", "moron", "filthy"]


def show(diagnosis, width=100):
    stream = io.StringIO()
    Console(file=stream, width=width).print(render(diagnosis))
    return stream.getvalue()


def texts_of(labels, seed=0, telling=True):
    random = np.random.default_rng(seed)
    texts = []
    for label in labels:
        pool = KIND_WORDS if (label == "polite" if telling else random.random() < 0.5) else RUDE_WORDS
        texts.append(" ".join(random.choice(pool, 4)) + f" {random.integers(10**6)}")
    return texts


def write_set(folder, splits, labels, texts):
    """A folder with memes.csv and drawn images; returns its rows, to be changed and written again."""
    rows = []
    for number, (split, label, text) in enumerate(zip(splits, labels, texts, strict=True)):
        draw_image(folder / "images" / f"{number}.png", number, (60 + number % 7, 50))
        rows.append({"id": number, "image": f"images/{number}.png", "text": text, "split": split, "rude": label})
    write_csv(folder / "memes.csv", rows)
    return rows


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """300 memes whose words tell their labels, without a fault."""
    folder = tmp_path_factory.mktemp("sound")
    labels = ["polite", "rude"] * 150
    splits = ["train"] * 240 + ["validation"] * 30 + ["test"] * 30
    write_set(folder, splits, labels, texts_of(labels))
    return folder


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """340 memes with one fault of every kind."""
    folder = tmp_path_factory.mktemp("broken")
    labels = ["polite", "rude"] * 150 + ["rude"] * 38 + ["polite"] * 2
    splits = ["train"] * 300 + ["validation"] * 40
    rows = write_set(folder, splits, labels, texts_of(labels, telling=False))
    images = folder / "images"
    for number in range(40, 60):
        rows[number]["text"] = ""
    rich = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8))
    rich.resize((120, 100), Image.Resampling.BICUBIC).save(images / "1.png")
    rich.resize((120, 100), Image.Resampling.BICUBIC).save(images / "301.jpg", quality=60)
    rows[301]["image"] = "images/301.jpg"
    (images / "302.png").write_bytes((images / "2.png").read_bytes())
    rows[303]["text"] = "One does NOT simply..."
    rows[3]["text"] = "one does not simply"
    (images / "7.png").write_bytes((images / "6.png").read_bytes())
    (images / "8.png").write_bytes(b"\x89PNG\r\n\x1a\n but not really")
    Image.new("RGB", (40, 40), "white").save(images / "9.png")
    (images / "10.png").unlink()
    rows[11]["id"] = rows[0]["id"]
    rows[12]["image"] = "../outside.png"
    write_csv(folder / "memes.csv", rows)
    return folder


@pytest.fixture(scope="module")
def broken_diagnosis(broken):
    return diagnose(broken)


def test_a_sound_set_is_ready_and_has_nothing_to_watch(sound):
    found = diagnose(sound)
    assert found.ready
    assert found.watch == ()
    assert found.splits == {"train": 240, "validation": 30, "test": 30}
    assert found.roles == {"fit": {"train": 240}, "select": {"validation": 30}, "report": {"test": 30}}
    (task,) = found.label_tasks
    assert task.text_signal.kappa > 0.9
    assert found.duplicates["any"].num_groups == 0
    shown = show(found)
    assert shown.rstrip().endswith("Ready to train.")
    assert found.data in shown


def test_rows_that_can_not_be_used_are_listed_with_reasons(broken_diagnosis):
    reasons = {problem.meme_id.split("/")[-1]: problem.what for problem in broken_diagnosis.unusable}
    assert len(broken_diagnosis.unusable) == 3
    assert "does not exist" in reasons["10"]
    assert "used already" in reasons["0"]
    assert "'..'" in reasons["12"]
    assert broken_diagnosis.num_memes == 337


def test_images_that_can_not_be_decoded_are_listed(broken_diagnosis):
    (problem,) = broken_diagnosis.unreadable
    assert problem.meme_id.endswith("/8")
    assert broken_diagnosis.images.num_images == 336
    assert broken_diagnosis.images.num_blank == 1


def test_missing_texts_are_counted_by_split(broken_diagnosis):
    assert broken_diagnosis.texts.num_missing == {"train": 20, "validation": 0}
    assert any("20 of 337 memes have no text" in sentence for sentence in broken_diagnosis.watch)


@pytest.mark.parametrize(
    ("kind", "crossing"),
    [("identical", [("2", "302")]), ("near", [("1", "301"), ("2", "302")]), ("repeated_text", [("3", "303")])],
)
def test_leaks_between_splits_are_found_with_examples(broken_diagnosis, kind, crossing):
    found = broken_diagnosis.duplicates[kind]
    assert found.num_crossing == found.num_leaking == len(crossing)
    numbers = [tuple(meme_id.split("/")[-1] for meme_id, _ in group) for group in found.examples]
    assert numbers == crossing
    assert [split for _, split in found.examples[0]] == ["train", "validation"]


def test_all_leaks_together(broken_diagnosis):
    whole = broken_diagnosis.duplicates["any"]
    assert (whole.num_groups, whole.num_memes, whole.num_crossing, whole.num_leaking) == (4, 8, 3, 3)
    (sentence,) = [text for text in broken_diagnosis.watch if "duplicate groups cross splits" in text]
    assert "1 by identical images, 2 by near-duplicate images, 1 by repeated texts" in sentence
    assert "of the 40 memes outside train, 3 are known" in sentence


def test_label_conflicts_are_found(broken_diagnosis):
    (task,) = broken_diagnosis.label_tasks
    # of the four pairs only 6 and 7 (polite and rude), and 2 and 302 (polite and rude) differ
    assert (task.conflicts.num_groups, task.conflicts.num_conflicting) == (4, 2)
    pairs = {tuple(sorted(meme_id.split("/")[-1] for meme_id, _ in group)) for group in task.conflicts.examples}
    assert pairs == {("6", "7"), ("2", "302")}
    assert {label for group in task.conflicts.examples for _, label in group} == {"polite", "rude"}


def test_prior_shift_is_measured_and_flagged(broken_diagnosis):
    (task,) = broken_diagnosis.label_tasks
    train, validation = task.counts["train"], task.counts["validation"]
    assert validation == {"polite": 2, "rude": 38}
    share = train["rude"] / sum(train.values())
    assert task.shifts["validation"].total_variation == pytest.approx(38 / 40 - share)
    assert task.shifts["validation"].flagged
    assert any("not shared out as in train" in sentence for sentence in broken_diagnosis.watch)


def test_constants_are_scored_where_the_model_will_be(broken_diagnosis):
    (task,) = broken_diagnosis.label_tasks
    scores = task.constants["validation"]
    assert set(task.constants) == {"validation"}
    # always "rude": F1 of rude 2*38/(40+38), of polite 0; weights 38/40 and 2/40
    assert scores.best == "rude"
    assert scores.best_weighted_f1 == pytest.approx(76 / 78 * 38 / 40)
    assert scores.best_macro_f1 == pytest.approx(76 / 78 / 2)
    assert any("look at macro F1" in sentence for sentence in broken_diagnosis.watch)


def test_random_labels_are_called_noise_for_text(broken_diagnosis):
    (task,) = broken_diagnosis.label_tasks
    assert task.text_signal.near_noise
    assert any("close to noise for text alone" in sentence for sentence in broken_diagnosis.watch)


def test_a_broken_set_is_not_called_fit(broken_diagnosis):
    assert not broken_diagnosis.ready
    assert any("3 problems" in sentence for sentence in broken_diagnosis.obstacles)
    assert any("1 image" in sentence for sentence in broken_diagnosis.obstacles)
    shown = show(broken_diagnosis)
    for words in ("Not fit for training", "does not exist", "across splits", "different rude", "Watch as well"):
        assert words in shown


def test_the_diagnosis_is_json(broken_diagnosis):
    data = broken_diagnosis.to_dict()
    assert json.loads(json.dumps(data, allow_nan=False))["ready"] is False
    assert data["label_tasks"][0]["constants"]["validation"]["best"] == "rude"
    assert len(data["unusable"]) == 3


def test_rendering_shows_text_from_the_data_as_it_is(tmp_path):
    manifest = make_manifest(tmp_path, 30, label_tasks=[LabelTask("[bold]task", "nominal", ("[red]a", "b[/]"))])
    shown = show(examine(manifest, problems=[Problem("row [1]", "has [/wrong] value")], data="[link]x"), 300)
    for text in ("[bold]task", "[red]a", "b[/]", "row [1]", "has [/wrong] value", "[link]x"):
        assert text in shown


def test_a_set_without_splits_is_cut_and_judged_as_a_whole(tmp_path):
    found = diagnose(write_memotion1(tmp_path, 40, splits=()))
    assert found.ready
    counts = {role: sum(of_role.values()) for role, of_role in found.roles.items()}
    assert counts["report"] == 8
    assert counts["select"] in (6, 7)
    assert counts["fit"] == 32 - counts["select"]
    assert found.fit_splits == ("all",)
    assert all(set(task.constants) == {"all"} and not task.shifts for task in found.label_tasks)
    assert f"trains, {counts['select']} cut off to select, 8 cut off to report" in show(found)
    assert any(f"Only {counts['fit']} memes" in sentence for sentence in found.watch)


def test_squashed_images_are_noticed(tmp_path):
    found = examine(make_manifest(tmp_path, 24))
    assert found.images.common_size == (20, 16)
    assert found.images.num_common == found.images.num_distinct == 24
    assert any("All images are 20x16 pixels" in sentence for sentence in found.watch)


def test_text_alone_and_nothing_to_learn(tmp_path):
    manifest = make_manifest(tmp_path, 30, images=False, label_tasks=[])
    found = examine(manifest)
    assert found.images is None
    assert any("no labels to learn" in sentence for sentence in found.obstacles)
    assert any("No meme has an image" in sentence for sentence in found.watch)
    assert "Images: none" in show(found)


def test_label_tasks_that_can_not_be_learned(tmp_path):
    splits = ("train", "train", "train", "validation", "validation")
    manifest = make_manifest(tmp_path, 60, splits=splits, label_tasks=[SENTIMENT, RUDE])
    table = manifest.table.copy()
    train = table["split"] == "train"
    table.loc[train, "rude"] = "rude"
    table.loc[~train, "sentiment"] = None
    found = examine(type(manifest)(table, manifest.label_tasks, manifest.root))
    told = " ".join(found.obstacles)
    assert "rude: train has only the class 'rude'" in told
    assert "sentiment: validation has no label, but should report" in told
    assert any("rude: there is no polite in train" in sentence for sentence in found.watch)


def test_too_few_memes_for_all_roles_is_said_not_raised(tmp_path):
    found = examine(make_manifest(tmp_path, 2, splits=("all",)))
    assert not found.ready
    assert any("too small to cut off" in sentence for sentence in found.obstacles)
    assert "Not fit for training" in show(found)


def test_image_files_that_vanish_are_listed(tmp_path):
    manifest = make_manifest(tmp_path, 12)
    (tmp_path / "3.png").unlink()
    found = examine(manifest)
    assert [problem.meme_id for problem in found.unreadable] == [manifest.meme_ids[3]]
    assert found.num_memes == 11


def test_nothing_that_can_be_read_is_an_error(tmp_path):
    with pytest.raises(DataError):
        diagnose(tmp_path / "nowhere")
    with pytest.raises(DataError):
        examine(make_manifest(tmp_path, 3).take([]))


def test_progress_is_told(sound):
    class Seen:
        def __init__(self):
            self.labels, self.done = [], []

        def start(self, label, total):
            self.labels.append(label)

        def advance(self, num_done):
            self.done.append(num_done)

    seen = Seen()
    assert isinstance(diagnose(sound, progress=seen), Diagnosis)
    assert seen.labels == ["reading images", "probing the texts"]
    assert seen.done[-3:] == [1, 2, 3]
