"""The rooms of the package and who may import whom; the public names; what importing costs."""

import ast
import subprocess
import sys
from collections import Counter
from importlib import resources
from pathlib import Path

import pytest

import memeblend

SOURCE = Path(str(resources.files("memeblend")))
OPEN_TO_ALL = {"errors", "labels", "files"}
# A room may import the rooms named here and those open to all; docs/design.md explains the order.
MAY_IMPORT = {
    "errors": set(),
    "labels": set(),
    "files": set(),
    "ray_session": set(),
    "ray_client": {"ray_session"},
    "recipe": set(),
    "data": {"recipe"},
    "models": {"recipe"},
    "losses": set(),
    "evaluation": set(),
    "decisions": {"evaluation"},
    "ensemble": {"evaluation"},
    "report": {"evaluation", "ensemble", "decisions"},
    "regions": {"recipe", "data", "models"},
    "translation": {"data", "models"},
    "training": {"recipe", "data", "models", "losses", "evaluation"},
    "candidates": {"recipe", "data", "models", "losses", "evaluation", "training", "regions"},
    "run": {"recipe", "data", "evaluation", "decisions", "ensemble", "training", "candidates"},
    "tuning": {
        "ray_session", "ray_client", "recipe", "data", "evaluation", "training", "candidates", "run",
    },
    "policy": {"evaluation"},
    "predictions": {"evaluation"},
    "reporting": {"recipe", "data", "evaluation", "ensemble", "decisions", "report", "run"},
    "model": {
        "recipe", "data", "evaluation", "ensemble", "decisions", "training", "candidates", "run", "predictions",
        "report", "reporting", "explain",
    },
    "serving": {
        "recipe", "data", "evaluation", "ensemble", "decisions", "training", "candidates", "predictions", "model",
        "explain", "policy", "onnx_engine",
    },
    "explain": {
        "recipe", "data", "models", "evaluation", "ensemble", "decisions", "training", "candidates", "predictions",
    },
    "onnx_engine": {"data", "models", "regions", "training", "candidates", "predictions", "model"},
    "reproduce": {"recipe", "data", "evaluation", "ensemble", "training", "run", "model"},
    "precedents": {"data", "training", "candidates", "model"},
    "redteam": {"recipe", "data", "evaluation", "training", "predictions", "model", "report", "policy"},
    "scale": {
        "ray_session", "ray_client", "recipe", "data", "training", "candidates", "run", "predictions", "policy",
        "model",
        "onnx_engine",
    },
    "cli": {
        "recipe", "data", "evaluation", "training", "regions", "model", "predictions", "precedents", "reporting", "run",
        "serving", "explain", "redteam", "policy", "onnx_engine", "ray_session", "tuning", "scale",
        "translation", "reproduce",
    },
}  # fmt: skip
HEAVY = ("torch", "transformers", "sklearn", "matplotlib", "pandas", "pyarrow")


def modules():
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        if parts != ("__init__",):
            yield parts[0], path


def imported_rooms(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            # `from memeblend import errors` names rooms too
            names = [node.module] + [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            first, *rest = name.split(".")
            if first == "memeblend" and rest and rest[0] != "__version__":
                yield rest[0]


@pytest.mark.parametrize(("room", "path"), [pytest.param(r, p, id=str(p.relative_to(SOURCE))) for r, p in modules()])
def test_no_import_points_down_the_list_of_rooms(room, path):
    assert room in MAY_IMPORT, f"the room {room} is not in the list"
    allowed = MAY_IMPORT[room] | OPEN_TO_ALL | {room}
    if room in {"errors", "labels"}:
        allowed = {room}
    assert set(imported_rooms(path)) - allowed == set()


def test_public_names_are_these_and_all_of_them_exist():
    assert sorted(memeblend.__all__) == [
        "LabelTask",
        "Manifest",
        "MemeClassifier",
        "Recipe",
        "__version__",
        "load_recipe",
    ]
    for name in memeblend.__all__:
        assert getattr(memeblend, name)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        memeblend.nonsense  # noqa: B018


@pytest.mark.parametrize("module", ["memeblend", "memeblend.cli"])
def test_importing_is_cheap(module):
    code = f"import sys, {module}; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_package_and_module_says_what_it_holds():
    for _, path in modules():
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path


def test_test_files_have_names_of_their_own():
    """pytest imports them by name alone: the second of two would end the whole run."""
    names = Counter(path.name for path in Path(__file__).parent.rglob("test_*.py"))
    assert [name for name, times in names.items() if times > 1] == []
