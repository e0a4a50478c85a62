"""The grid's draws and refusals; names in texts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memeblend.errors import MemeblendError
from memeblend.redteam.grid import PERTURBATIONS, Settings, generator, perturbation_names
from memeblend.redteam.names import GENDERS, GROUPS, NAMES_BY_GROUP, NUM_NAMES, drawn_place, found_name, with_name


def test_all_cells_are_there_with_three_strengths():
    settings = Settings()
    assert len(settings.cells) == 3 * len(PERTURBATIONS)
    assert len({cell.name for cell in settings.cells}) == len(settings.cells)
    assert settings.probes_names
    assert not Settings(only=("jpeg",)).probes_names
    assert [cell.name for cell in Settings((3, 1, 3), ("jpeg", "names")).cells] == ["jpeg@1", "jpeg@3"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"only": ("letspeak",)}, "did you mean leetspeak?"),
        ({"only": ("qqqqqq",)}, "there is none of that name"),
        ({"severities": (0, 4)}, "severity 4"),
        ({"severities": ()}, "there are none"),
        ({"seed": -1}, "is negative"),
    ],
)
def test_what_can_not_be_tried_is_refused(given, words):
    with pytest.raises(MemeblendError, match="red team") as refused:
        Settings(**given)
    assert words in str(refused.value)


def test_all_problems_are_listed_at_once():
    with pytest.raises(MemeblendError) as refused:
        Settings((7,), ("nothing", "jpg"), seed=-2)
    assert len(refused.value.problems) == 4


def test_a_memes_draws_follow_from_seed_perturbation_and_id_alone():
    def draw(*given):
        return generator(*given).random()

    assert draw(0, "jpeg", "a") == draw(0, "jpeg", "a")
    assert len({draw(0, "jpeg", "a"), draw(1, "jpeg", "a"), draw(0, "blur", "a"), draw(0, "jpeg", "b")}) == 4
    assert draw(0, "a", "\ud800")  # no encoding can write it


def test_strengths_are_said_with_their_unit():
    said = {cell.name: cell.strength_words for cell in Settings().cells}
    assert said["jpeg@1"] == "quality 25"
    assert said["leetspeak@3"] == "100% of the places"
    assert said["word_order@3"] == "anywhere"


def test_name_lists_are_even_and_disjoint():
    listed = [name for names in NAMES_BY_GROUP.values() for gender in GENDERS for name in names[gender]]
    assert len(listed) == len(GROUPS) * len(GENDERS) * NUM_NAMES
    assert len({name.lower() for name in listed}) == len(listed)
    assert len(perturbation_names()) == len(PERTURBATIONS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Rahul is late, rahul again", "Jamal is late, jamal again"),
        ("RAHUL!", "JAMAL!"),
        ("Harpreet Kaur waits", "Jamal waits"),
        ("Rahulio and amity", "Jamal: Rahulio and amity"),
        ("Kenya is a country", "Jamal: Kenya is a country"),
        ("", "Jamal"),
    ],
)
def test_names_are_swapped_or_put_before(text, expected):
    assert with_name(text, "Jamal") == expected


@given(text=st.text(), meme_id=st.text())
def test_every_text_can_speak_of_everybody(text, meme_id):
    place = drawn_place(meme_id, 0)
    assert 0 <= place < NUM_NAMES
    for names in NAMES_BY_GROUP.values():
        name = names["female"][place]
        assert name.lower() in with_name(text, name).lower()
    assert found_name(text) is None or found_name(text) in text
