"""Region files: every layout comes back as it was written, and every fault is told with its row."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from region_files import (
    CLASSES,
    assert_same,
    bottom_up_fields,
    encoded,
    labels_json,
    lxmert_fields,
    random_regions,
    write_tsv,
)

from memeblend.errors import DataError
from memeblend.regions import tsv_regions
from memeblend.regions.boxes import MemeRegions, box_numbers
from memeblend.regions.npz import collect, settings_array, write_arrays, write_regions_file
from memeblend.regions.store import RegionStore

WIDTH = 9
FIRST, SECOND, EMPTY = random_regions(3, WIDTH, 1), random_regions(2, WIDTH, 2), random_regions(0, WIDTH)


def without_tags(regions: MemeRegions, *, scores: bool = False) -> MemeRegions:
    ones = regions.scores if scores else np.ones(len(regions), np.float32)
    return MemeRegions(regions.boxes, regions.features, [""] * len(regions), ones)


def three(path: Path, fields=bottom_up_fields, header=()):
    rows = [fields("a/1", FIRST), fields("a/2", EMPTY), fields("b/1", SECOND)]
    return write_tsv(path, [*([header] if header else []), *rows])


def check_three(store, change=lambda regions: regions):
    assert store.feature_size == WIDTH
    assert list(store.meme_ids) == ["a/1", "a/2", "b/1"]
    assert len(store) == 3
    assert "a/2" in store
    assert "c/1" not in store
    assert_same(store.get("a/1", 50), change(FIRST))
    assert len(store.get("a/2", 50)) == 0
    assert store.get("a/2", 50).features.shape == (0, WIDTH)
    assert_same(store.get("b/1", 50), change(SECOND))


def test_bottom_up_attention(tmp_path):
    store = RegionStore.open(three(tmp_path / "r.tsv"))
    check_three(store, without_tags)
    assert "bottom-up attention" in store.description
    assert "no tags" in store.description


def test_appended_box_numbers_are_recognised_and_taken_off(tmp_path):
    def fields(meme_id, regions):
        return bottom_up_fields(meme_id, regions, appended=True)

    store = RegionStore.open(three(tmp_path / "r.tsv", fields))
    check_three(store, without_tags)
    assert "features of 15, the last six the box" in store.description


def tagged(text, *, scored=False):
    def fields(meme_id, regions):
        row = [*bottom_up_fields(meme_id, regions), text(regions)]
        return [*row, encoded(regions.scores)] if scored else row

    return fields


@pytest.mark.parametrize(
    "text",
    [
        lambda regions: json.dumps(regions.tags),
        lambda regions: "|".join(regions.tags),
        lambda regions: "; ".join(regions.tags),
        lambda regions: ",".join(regions.tags),
        lambda regions: '"' + json.dumps(regions.tags).replace('"', '""') + '"',
        labels_json,
    ],
    ids=["json", "bar", "semicolon", "comma", "quoted by csv", "objects"],
)
def test_tags_and_scores(tmp_path, text):
    check_three(RegionStore.open(three(tmp_path / "scored.tsv", tagged(text, scored=True))))
    named = three(tmp_path / "named.tsv", tagged(text))
    keeps = text is labels_json

    def expected(regions):
        return regions if keeps else MemeRegions(regions.boxes, regions.features, regions.tags, np.ones(len(regions)))

    assert RegionStore.open(named).get("a/1", 9).tags == FIRST.tags
    np.testing.assert_array_equal(RegionStore.open(named).get("a/1", 9).scores, expected(FIRST).scores)


@pytest.mark.parametrize("write", [json.dumps, lambda scores: ",".join(map(str, scores))], ids=["json", "comma"])
def test_scores_as_text(tmp_path, write):
    row = [*bottom_up_fields("a", SECOND), json.dumps(SECOND.tags), write(SECOND.scores.tolist())]
    assert_same(RegionStore.open(write_tsv(tmp_path / "r.tsv", [row])).get("a", 9), SECOND)


def test_a_header_lets_columns_come_in_any_order(tmp_path):
    def fields(meme_id, regions):
        _, width, height, num_boxes, boxes, features = bottom_up_fields(meme_id, regions)
        return [features, json.dumps(regions.tags), encoded(regions.scores), height, width, boxes, num_boxes, meme_id]

    header = ["features", "tags", "conf", "image_h", "image_w", "boxes", "num_boxes", "image_id"]
    check_three(RegionStore.open(three(tmp_path / "r.tsv", fields, header)))


@pytest.mark.parametrize("header", [(), ("img_id", "img_h", "img_w", "objects_id", "objects_conf", "attrs_id",
                                         "attrs_conf", "num_boxes", "boxes", "features")])  # fmt: skip
def test_lxmert_with_its_vocabulary(tmp_path, header):
    def fields(meme_id, regions):
        ids = [list(CLASSES.values()).index(tag) for tag in regions.tags]
        return lxmert_fields(meme_id, regions, ids, (320, 640))

    path = three(tmp_path / "r.tsv", fields, header)
    assert RegionStore.open(path).get("a/1", 9).tags == ["", "", ""]
    (tmp_path / "objects_vocab.txt").write_text("\n".join(f"{name},other" for name in CLASSES.values()))
    store = RegionStore.open(path)
    check_three(store)
    assert "objects_vocab.txt" in store.description


@pytest.mark.parametrize("in_json", [False, True])
@pytest.mark.parametrize(
    ("features", "labels"),
    [("train.feature.tsv", "train.label.tsv"), ("features.tsv", "predictions.tsv")],
)
def test_oscar_with_labels_beside(tmp_path, in_json, features, labels):
    def fields(meme_id, regions):
        data = encoded(np.concatenate([regions.features, regions.boxes], axis=1))
        if in_json:
            return [meme_id, json.dumps({"num_boxes": len(regions), "features": data})]
        return [meme_id, str(len(regions)), data]

    path = three(tmp_path / features, fields)
    check_three(RegionStore.open(path), without_tags)
    rows = [["b/1", labels_json(SECOND)], ["a/1", f'{{"objects": {labels_json(FIRST)}}}'], ["a/2", "[]"]]
    write_tsv(tmp_path / labels, rows)
    store = RegionStore.open(path)
    check_three(store)
    assert labels in store.description


def test_oscar_labels_of_another_number_give_their_names_in_order(tmp_path):
    data = encoded(np.concatenate([FIRST.features, FIRST.boxes], axis=1))
    path = write_tsv(tmp_path / "x.feature.tsv", [["few", "3", data], ["many", "3", data], ["none", "3", data]])
    many = json.dumps([{"class": name, "conf": 0.5} for name in "abcde"])
    write_tsv(tmp_path / "x.label.tsv", [["few", '[{"class": "sky"}]'], ["many", many]])
    store = RegionStore.open(path)
    assert store.get("few", 9).tags == ["sky", "", ""]
    assert store.get("many", 9).tags == ["a", "b", "c"]
    assert store.get("many", 9).scores.tolist() == [1.0, 1.0, 1.0]
    assert store.get("none", 9).tags == ["", "", ""]


def test_features_that_python_wrote_as_bytes(tmp_path):
    row = bottom_up_fields("a", FIRST)
    row[4:] = [f"b'{field}'" for field in row[4:]]
    store = RegionStore.open(write_tsv(tmp_path / "r.tsv", [row]))
    assert_same(store.get("a", 9), without_tags(FIRST))


def test_windows_line_ends_and_no_last_line_end(tmp_path):
    path = three(tmp_path / "r.tsv")
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n")[:-2])
    check_three(RegionStore.open(path), without_tags)


def test_a_box_may_round_over_the_edge_by_a_pixel(tmp_path):
    row = bottom_up_fields("a", FIRST, (100, 50))
    row[4] = encoded([[-0.5, 0, 100.9, 50.9], [0, 0, 1, 1], [0, 0, 1, 1]])
    found = RegionStore.open(write_tsv(tmp_path / "r.tsv", [row])).get("a", 9)
    assert found.boxes[0].tolist() == [0, 0, 1, 1, 1, 1]


def test_best_first_and_no_more_than_asked_for(tmp_path):
    scores = np.array([0.2, 0.9, 0.2, 0.5], np.float32)
    made = random_regions(4, WIDTH)
    regions = MemeRegions(made.boxes, made.features, list("abcd"), scores)
    row = [*bottom_up_fields("a", regions), json.dumps(regions.tags), encoded(scores)]
    write_regions_file(tmp_path / "r.npz", {"a": regions}, WIDTH)
    for path in (write_tsv(tmp_path / "r.tsv", [row]), tmp_path / "r.npz"):
        store = RegionStore.open(path)
        assert store.get("a", 9).tags == ["b", "d", "a", "c"]
        found = store.get("a", 3)
        order = [1, 3, 0]
        assert_same(found, MemeRegions(regions.boxes[order], regions.features[order], ["b", "d", "a"], scores[order]))
        with pytest.raises(ValueError, match="max_regions is 0"):
            store.get("a", 0)
        with pytest.raises(KeyError):
            store.get("b", 3)


def test_npz(tmp_path):
    write_regions_file(tmp_path / "r.npz", {"a/1": FIRST, "a/2": EMPTY, "b/1": SECOND}, WIDTH)
    check_three(RegionStore.open(tmp_path / "r.npz"))


def test_npz_that_numpy_wrote_without_scores_and_tags(tmp_path):
    arrays = collect([FIRST, EMPTY, SECOND], WIDTH, np.float32)
    np.savez(
        tmp_path / "r.npz",
        meme_ids=np.array(["a/1", "a/2", "b/1"]),
        offsets=arrays["offsets"],
        boxes=arrays["boxes"],
        features=np.asfortranarray(arrays["features"]),
    )
    check_three(RegionStore.open(tmp_path / "r.npz"), without_tags)


def test_npz_stays_on_disk(tmp_path):
    write_regions_file(tmp_path / "r.npz", {"a": FIRST}, WIDTH)
    regions = RegionStore.open(tmp_path / "r.npz")._regions
    assert isinstance(regions.arrays.features, np.memmap)
    assert isinstance(regions.arrays.boxes, np.memmap)


def test_memes_may_share_an_image(tmp_path):
    arrays = {
        "meme_ids": np.array(["x", "y", "z"]),
        "image_rows": np.array([1, 0, 1]),
        **collect([FIRST, SECOND], WIDTH, np.float32),
    }
    write_arrays(tmp_path / "r.npz", arrays, [arrays["features"]])
    store = RegionStore.open(tmp_path / "r.npz")
    assert_same(store.get("x", 9), SECOND)
    assert_same(store.get("y", 9), FIRST)
    assert_same(store.get("z", 9), SECOND)


def test_features_too_large_for_float16_are_kept_in_float32():
    small = collect([FIRST], WIDTH)
    assert small["features"].dtype == np.float16
    large = MemeRegions(FIRST.boxes, FIRST.features * 1e6, FIRST.tags, FIRST.scores)
    found = collect([large], WIDTH)["features"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, large.features)


NAMES = st.text(st.characters(categories=["L", "N", "Zs", "P", "S"]), min_size=1, max_size=12)
SHARES = st.floats(0, 1, width=32)


@st.composite
def some_regions(draw):
    num_regions = draw(st.integers(0, 4))
    ends = [sorted([draw(SHARES), draw(SHARES)]) for _ in range(2 * num_regions)]
    pairs = np.array(ends, dtype=np.float32).reshape(num_regions, 2, 2)  # [n, x and y, begin and end]
    values = st.lists(st.floats(-1e6, 1e6, width=32), min_size=7, max_size=7)
    features = [draw(values) for _ in range(num_regions)]
    scores = sorted((draw(SHARES) for _ in range(num_regions)), reverse=True)
    return MemeRegions(
        box_numbers(pairs.transpose(0, 2, 1).reshape(num_regions, 4)),
        np.array(features, dtype=np.float32).reshape(num_regions, 7),
        [draw(NAMES) for _ in range(num_regions)],
        np.array(scores, dtype=np.float32),
    )


@settings(max_examples=60, deadline=None)
@given(
    memes=st.dictionaries(NAMES.filter(str.strip), some_regions(), min_size=1, max_size=4),
    size=st.tuples(st.integers(1, 4000), st.integers(1, 4000)),
    appended=st.booleans(),
)
def test_any_regions_come_back_from_both_formats(tmp_path_factory, memes, size, appended):
    folder = tmp_path_factory.mktemp("made")
    write_regions_file(folder / "r.npz", memes, 7)
    stores = [RegionStore.open(folder / "r.npz")]
    if any(len(regions) for regions in memes.values()):
        rows = [
            [*bottom_up_fields(meme_id, regions, size, appended=appended), labels_json(regions)]
            for meme_id, regions in memes.items()
        ]
        header = ["image_id", "image_w", "image_h", "num_boxes", "boxes", "features", "tags"]
        stores.append(RegionStore.open(write_tsv(folder / "r.tsv", [header, *rows])))
    for store in stores:
        assert store.feature_size == 7
        assert list(store.meme_ids) == list(memes)
        for meme_id, regions in memes.items():
            assert_same(store.get(meme_id, 9), regions)
            assert_same(store.get(meme_id, 2), regions.best(2))


def refused(path):
    """The message and the problems of a file that must be refused."""
    with pytest.raises(DataError) as caught:
        RegionStore.open(path)
    return str(caught.value), [str(problem) for problem in caught.value.problems]


def test_all_problems_of_a_tsv_at_once_with_their_rows(tmp_path):
    def good(meme_id):
        return bottom_up_fields(meme_id, FIRST, (100, 50))

    def changed(meme_id, column, value):
        row = good(meme_id)
        row[column] = value
        return row

    nan = FIRST.features.copy()
    nan[1, 2] = np.nan
    infinite = FIRST.features.copy()
    infinite[0, 0] = -np.inf
    narrow = bottom_up_fields("narrow", random_regions(3, WIDTH - 1), (100, 50))
    boxes = np.array([[0, 0, 10, 10], [50, 0, 40, 10], [0, 0, 200, 10]], dtype=np.float64)
    cases = [
        (good("good"), None),
        (good("good too")[:5], "has 5 column(s), expected 6; is the row cut short?"),
        (changed("broken", 5, good("x")[5][:-3]), "features are broken base64; is the row cut short?"),
        (changed("bytes", 5, encoded(np.zeros(7), "u1")), "features have 7 bytes, no whole number of float32"),
        (changed("count", 3, "4"), "features hold 27 numbers, which don't divide among 4 boxes"),
        (changed("none", 3, "0"), "features hold 27 numbers, which don't divide among 0 boxes"),
        (narrow, f"has features of {WIDTH - 1} numbers, other rows of {WIDTH}"),
        (changed("nan", 5, encoded(nan)), "features hold NaN or infinity"),
        (changed("inf", 5, encoded(infinite)), "features hold NaN or infinity"),
        (changed("boxes", 4, encoded(boxes)), "box is inverted: expected x1 <= x2 and y1 <= y2 (box 1)"),
        (changed("few", 4, encoded(boxes[:2])), "boxes hold 8 numbers, expected 4 for each of 3 boxes"),
        (changed("nan box", 4, encoded(boxes * np.nan)), "box holds NaN or infinity (box 0, 1, 2)"),
        (good("good"), "the id 'good' was used already by row 1"),
        (changed("", 0, ""), "its id is empty"),
        (changed("flat", 1, "0"), "w is '0', expected a whole number of at least 1"),
        (changed("low", 2, "-5"), "h is '-5', expected a whole number of at least 1"),
        (changed("word", 3, "many"), "num_boxes is 'many', expected a whole number of at least 0"),
        (good("last"), None),
    ]
    message, problems = refused(write_tsv(tmp_path / "r.tsv", [row for row, _ in cases]))
    assert "can't be used" in message
    for number, (_, expected) in enumerate(cases, start=1):
        of_row = [problem for problem in problems if problem.startswith(f"r.tsv row {number}: ")]
        if expected is None:
            assert of_row == []
        else:
            assert f"r.tsv row {number}: {expected}" in of_row
    assert "r.tsv row 10: box lies outside the image (box 2)" in problems
    assert len(problems) == len([case for case in cases if case[1]]) + 1


@pytest.mark.parametrize("cut", [1, 5, 40, 130])
def test_a_tsv_cut_in_its_last_row(tmp_path, cut):
    path = three(tmp_path / "r.tsv")
    path.write_bytes(path.read_bytes()[: -1 - cut])
    _, problems = refused(path)
    assert problems
    assert all(problem.startswith("r.tsv row 3: ") for problem in problems)


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        (6, "[1, 2, 3]", "tags can't be read"),
        (6, '["dog", "c', "tags can't be read"),
        (6, '["dog"]', "has 1 tag(s) for 3 boxes"),
        (7, "[0.5]", "has 1 score(s) for 3 boxes"),
        (7, "high,low,none", "scores can't be read"),
        (7, "[0.5, NaN, 0.5]", "scores hold NaN or infinity"),
        (7, "[0.5, null, {}]", "scores can't be read"),
    ],
)
def test_tags_and_scores_that_do_not_fit(tmp_path, column, value, expected):
    row = [*bottom_up_fields("a", FIRST), json.dumps(FIRST.tags), encoded(FIRST.scores)]
    row[column] = value
    _, problems = refused(write_tsv(tmp_path / "r.tsv", [row]))
    assert any(problem.startswith(f"r.tsv row 1: {expected}") for problem in problems)


def test_rows_that_disagree_on_appended_boxes(tmp_path):
    rows = [bottom_up_fields(name, random_regions(2, 9), appended=True) for name in "abc"]
    rows.append(bottom_up_fields("d", random_regions(2, 15)))
    _, problems = refused(write_tsv(tmp_path / "r.tsv", rows))
    assert problems == ["r.tsv row 4: features don't end in the box, other than in most rows"]


def test_oscar_features_without_their_box(tmp_path):
    message, problems = refused(write_tsv(tmp_path / "r.tsv", [["a", "3", encoded(FIRST.features)]]))
    assert "Oscar" in message
    assert any("don't end in x1, y1, x2, y2, w, h" in problem or "box" in problem for problem in problems)
    _, problems = refused(write_tsv(tmp_path / "s.tsv", [["a", "3", encoded(FIRST.features[:, :5])]]))
    assert problems == ["s.tsv row 1: features of 5 numbers leave no room for the six of a box"]


def test_broken_labels_beside(tmp_path):
    data = encoded(np.concatenate([FIRST.features, FIRST.boxes], axis=1))
    path = write_tsv(tmp_path / "x.feature.tsv", [["a", "3", data], ["b", "3", data]])
    write_tsv(tmp_path / "x.label.tsv", [["a", '[{"class"'], ["b", "[]"]])
    _, problems = refused(path)
    assert len(problems) == 1
    assert problems[0].startswith("x.label.tsv row 1: labels of 'a' can't be read")


def test_no_region_at_all_leaves_the_width_unknown(tmp_path):
    _, problems = refused(write_tsv(tmp_path / "r.tsv", [bottom_up_fields("a", EMPTY)]))
    assert problems == ["r.tsv: no row has a region, so the feature width is unknown"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "it is empty"),
        (b"\n\n", "holds no meme"),
        (b"a\tb\tc\td\n", "4 column"),
        (b"id\tfeatures\n", "names no num_boxes"),
        (b"id\tnum_boxes\tboxes\tfeatures\n", "names no width, no height"),
        (b"id\timage_id\tnum_boxes\tfeatures\n", "names meme_id more than once"),
        (b"id\tw\th\tnum_boxes\tboxes\tfeatures\n", "holds no meme"),
    ],
)
def test_a_tsv_of_no_known_layout(tmp_path, content, expected):
    (tmp_path / "r.tsv").write_bytes(content)
    assert expected in refused(tmp_path / "r.tsv")[0]


def test_files_that_are_not_there_or_of_another_kind(tmp_path):
    assert "No such file" in refused(tmp_path / "none.tsv")[0]
    assert "No such file" in refused(tmp_path / "none.npz")[0]
    assert ".tsv or .npz" in refused(tmp_path / "none.csv")[0]


def npz(path, **changes):
    arrays = {"meme_ids": np.array(["a/1", "a/2", "b/1"]), **collect([FIRST, EMPTY, SECOND], WIDTH, np.float32)}
    arrays |= changes
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


def with_value(name, where, value):
    arrays = collect([FIRST, EMPTY, SECOND], WIDTH, np.float32)
    arrays[name][where] = value
    return {name: arrays[name]}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"features": None}, "it lacks the array(s) features"),
        ({"boxes": np.zeros((5, 4), np.float32)}, "boxes is float32 [5, 4], expected floating point [5, 6]"),
        ({"features": np.zeros((4, 9), np.float32)}, "expected float16 or float32 [5, feature_size]"),
        ({"features": np.zeros((5, 9), np.float64)}, "expected float16 or float32 [5, feature_size]"),
        ({"tags": np.array(["x"])}, "tags is <U1 [1], expected text [5]"),
        ({"scores": np.ones(5, np.int64)}, "scores is int64 [5], expected floating point [5]"),
        ({"meme_ids": np.array("a")}, "meme_ids is <U1 [], expected text [1]"),
        ({"settings": np.array("{")}, "settings are not JSON"),
        ({"tags": np.array(["x"] * 5, dtype=object)}, "Python objects, which are never loaded"),
        ({"offsets": np.array([0, 3, 2, 5])}, "does not rise from 0 to the 5 regions"),
        ({"offsets": np.array([0, 3, 3, 4])}, "does not rise from 0 to the 5 regions"),
        ({"meme_ids": np.array(["a", "b", "a"])}, "meme 2: the id 'a' was used already by meme 0"),
        ({"meme_ids": np.array(["a", "", "c"])}, "meme 1: has an empty id"),
        ({"image_rows": np.array([0, 1, 3])}, "meme 2: its image_rows is 3, but there are 3 images"),
        (with_value("features", (4, 1), np.nan), "image 2, region 1 (meme 'b/1'): features hold NaN or infinity"),
        (with_value("scores", 0, np.inf), "image 0, region 0 (meme 'a/1'): score is NaN or infinite"),
        (with_value("boxes", (3, 0), np.inf), "image 2, region 0 (meme 'b/1'): box holds NaN or infinity"),
        (with_value("boxes", 1, [0.5, 0, 0.4, 1, -0.1, 1]), "region 1 (meme 'a/1'): box is inverted"),
        (with_value("boxes", 1, [0.5, 0, 1.4, 1, 0.9, 1]), "region 1 (meme 'a/1'): box lies outside the image"),
        (with_value("boxes", 1, [0.5, 0, 0.6, 1, 0.5, 1]), "region 1 (meme 'a/1'): width and height don't fit"),
        ({"meme_ids": np.array([], dtype="<U1"), "image_rows": np.array([], np.int64)}, "holds no meme"),
    ],
)
def test_an_npz_that_can_not_be_used(tmp_path, changes, expected):
    assert expected in refused(npz(tmp_path / "r.npz", **changes))[0]


def test_all_problems_of_an_npz_at_once(tmp_path):
    changes = {**with_value("features", (0, 0), np.nan), **with_value("scores", 4, np.nan)}
    _, problems = refused(npz(tmp_path / "r.npz", **changes, meme_ids=np.array(["a", "b", "a"])))
    assert len(problems) == 3


def test_an_npz_that_is_compressed_cut_or_altered(tmp_path):
    np.savez_compressed(tmp_path / "packed.npz", meme_ids=np.array(["a"]))
    assert "is compressed" in refused(tmp_path / "packed.npz")[0]
    whole = npz(tmp_path / "whole.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[:-100])
    assert "cut short" in refused(tmp_path / "cut.npz")[0]
    place = whole.index(FIRST.features[1].tobytes())
    altered = bytearray(whole)
    altered[place] ^= 1
    (tmp_path / "altered.npz").write_bytes(altered)
    assert "check sum does not fit" in refused(tmp_path / "altered.npz")[0]
    (tmp_path / "text.npz").write_text("no archive")
    assert "can't be read" in refused(tmp_path / "text.npz")[0]


def test_a_file_is_checked_once_for_as_long_as_it_stays(tmp_path, monkeypatch):
    path = three(tmp_path / "r.tsv")
    told = []
    RegionStore.open(path, lambda done, total: told.append((done, total)))
    assert told[-1][0] == pytest.approx(told[-1][1], abs=1)
    assert len(told) == 3
    with monkeypatch.context() as patch:
        patch.setattr(tsv_regions._Builder, "build", lambda *rest: pytest.fail("indexed a second time"))
        check_three(RegionStore.open(path), without_tags)
    text = path.read_text()
    path.write_text(text + "\t".join(bottom_up_fields("c", FIRST)) + "\n")
    assert list(RegionStore.open(path).meme_ids) == ["a/1", "a/2", "b/1", "c"]


def test_a_cache_that_can_not_be_written_only_costs_time(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MEMEBLEND_CACHE", str(tmp_path / "file"))
    check_three(RegionStore.open(three(tmp_path / "r.tsv")), without_tags)


def test_a_file_made_here_says_by_what(tmp_path):
    arrays = {"meme_ids": np.array(["a"]), **collect([FIRST], WIDTH), "settings": settings_array({"engine": "grid"})}
    write_arrays(tmp_path / "r.npz", arrays, [arrays["features"]])
    assert "made by grid" in RegionStore.open(tmp_path / "r.npz").description
