import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from memeblend.labels import (
    HUMOROUS,
    MEMOTION_LABEL_TASKS,
    MISSING,
    SENTIMENT,
    LabelTask,
    present_classes,
    present_probabilities,
    present_task,
    with_derived,
)


def test_memotion_label_tasks_have_the_sizes_of_the_paper():
    assert [(task.name, task.num_classes) for task in MEMOTION_LABEL_TASKS] == [
        ("sentiment", 3),
        ("humorous", 4),
        ("sarcastic", 4),
        ("offensive", 4),
        ("motivational", 2),
    ]


def test_every_intensity_label_task_yields_a_derived_one():
    assert [task.name for task in with_derived(MEMOTION_LABEL_TASKS)[5:]] == [
        "humorous_present",
        "sarcastic_present",
        "offensive_present",
        "motivational_present",
    ]
    assert present_task(HUMOROUS) == LabelTask("humorous_present", "binary", ("absent", "present"))
    with pytest.raises(ValueError, match="no intensity levels"):
        present_task(SENTIMENT)


def test_present_by_hand():
    assert present_classes(np.array([0, 1, 3, MISSING])).tolist() == [0, 1, 1, MISSING]
    found = present_probabilities(np.array([[0.4, 0.3, 0.2, 0.1]]))
    np.testing.assert_allclose(found, [[0.4, 0.6]])


@given(hnp.arrays(np.int64, st.integers(0, 50), elements=st.integers(-1, 5)))
def test_present_is_one_exactly_above_level_zero(classes):
    found = present_classes(classes)
    assert ((found == 1) == (classes > 0)).all()
    assert ((found == MISSING) == (classes == MISSING)).all()


@pytest.mark.parametrize(
    ("kind", "classes", "message"),
    [
        ("nominal", ("a",), "at least two"),
        ("nominal", ("a", "a"), "names a class twice"),
        ("binary", ("a", "b", "c"), "is binary but has 3"),
        ("numeric", ("a", "b"), "expected nominal, ordinal or binary"),
    ],
)
def test_a_contradictory_label_task_is_refused(kind, classes, message):
    with pytest.raises(ValueError, match=message):
        LabelTask("x", kind, classes)


def test_label_task_survives_its_dictionary():
    for task in MEMOTION_LABEL_TASKS:
        assert LabelTask.from_dict(task.to_dict()) == task
