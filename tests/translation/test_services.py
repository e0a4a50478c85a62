"""The package `translators`, made up: what it is asked, when it is imported, what its errors become."""

import importlib.util
import os
import sys
import types

import pytest

from made_up_translation import Clock
from memeblend.errors import MissingExtraError, TranslationError
from memeblend.translation import Failure, Hop, Pace, ServiceError, Translator
from memeblend.translation.services import ServiceEngine

REGION = "translators_default_region"
HOP = Hop(0, "auto", "hi")


class TranslatorError(Exception):
    """As the package calls its own."""


class HTTPError(Exception):
    def __init__(self, status, headers):
        super().__init__(f"{status} Client Error: Too Many Requests for url: https://translate.example")
        self.response = types.SimpleNamespace(status_code=status, headers=headers)


class Package:
    """Stands for the package; `answer` is what it returns, raises, or calls."""

    def __init__(self, monkeypatch, at_import=None):
        self.asked, self.num_imports, self.region = [], 0, None
        self.answer = lambda text, to_language: f"{text}|{to_language}"
        self.at_import = at_import
        monkeypatch.delitem(sys.modules, "translators", raising=False)
        monkeypatch.setattr(sys, "meta_path", [self, *sys.meta_path])
        monkeypatch.setenv(REGION, "")  # so that it is restored
        monkeypatch.delenv(REGION)

    def find_spec(self, name, path=None, target=None):
        return importlib.util.spec_from_loader(name, self) if name == "translators" else None

    def create_module(self, spec):
        return types.ModuleType("translators")

    def exec_module(self, module):
        self.num_imports += 1
        self.region = os.environ.get(REGION)
        if self.at_import is not None:
            raise self.at_import
        module.translators_pool = ["bing", "google"]
        module.translate_text = self.translate_text

    def translate_text(self, text, *, translator, from_language, to_language, timeout, if_print_warning):
        self.asked.append((text, translator, from_language, to_language, timeout, if_print_warning))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer(text, to_language) if callable(self.answer) else self.answer


@pytest.fixture
def package(monkeypatch):
    yield Package(monkeypatch)
    sys.modules.pop("translators", None)


def test_a_service_is_asked_as_the_package_wants_it(package):
    engine = ServiceEngine("bing", 7)
    assert package.num_imports == 0, "importing it asks the network"
    assert engine.translate(["kya hua?"], HOP) == ["kya hua?|hi"]
    assert package.asked == [("kya hua?", "bing", "auto", "hi", 7, False)]
    assert package.region == "EN", "or it would look up where this machine is"
    assert Translator(engine).translate(["a"]).found == {"a": "a|hi|en"}
    assert [asked[2:4] for asked in package.asked[1:]] == [("auto", "hi"), ("hi", "en")]
    assert engine.version(HOP) == "bing"


def test_a_region_that_was_chosen_stays(package, monkeypatch):
    monkeypatch.setenv(REGION, "CN")
    ServiceEngine().translate(["a"], HOP)
    assert package.region == "CN"


@pytest.mark.parametrize(
    ("error", "reason", "wait_s"),
    [
        (ConnectionError("no route to\n host"), "ConnectionError", None),
        (TimeoutError(), "TimeoutError", None),
        (HTTPError(429, {"Retry-After": "17"}), "HTTPError 429", 17.0),
        (HTTPError(503, {"Retry-After": "Fri, 27 Nov 2026 07:28:00 GMT"}), "HTTPError 503", None),
        (TranslatorError("Unable to connect the Internet."), "TranslatorError", None),
        (KeyError("Unsupported thing"), "KeyError", None),
    ],
)
def test_errors_that_may_pass_are_tried_again(package, error, reason, wait_s):
    package.answer = error
    with pytest.raises(ServiceError) as raised:
        ServiceEngine().translate(["a"], HOP)
    assert (raised.value.failure.reason, raised.value.wait_s) == (reason, wait_s)
    assert "\n" not in raised.value.failure.detail
    clock = Clock()
    with pytest.raises(TranslationError, match="failed 2 times in a row"):
        Translator(ServiceEngine(), pace=Pace(0, 1, clock.sleep, clock), stop_after=2).translate(["a", "b"])
    assert clock.slept == [wait_s or 1, wait_s or 2]


def test_what_no_waiting_helps_is_told(package):
    package.answer = TranslatorError("Unsupported to_language[xx] in ['en', 'hi'].")
    with pytest.raises(TranslationError, match=r"google does not translate auto -> hi: Unsupported to_language"):
        Translator(ServiceEngine()).translate(["a"])
    assert len(package.asked) == 1
    with pytest.raises(TranslationError, match="no service 'gogle'") as raised:
        Translator(ServiceEngine("gogle")).translate(["a"])
    assert "bing, google" in raised.value.fix


def test_answers_that_are_no_text(package):
    package.answer = TranslatorError("The length of `query_text` exceeds the limit.")
    assert ServiceEngine().translate(["abc"], HOP) == [Failure("too long for the service", "3 characters", True)]
    for answer, told in ((None, "empty translation"), ({"data": 1}, "no text in the answer: a dict")):
        package.answer = answer
        assert [str(found) for found in ServiceEngine().translate(["a"], HOP)] == [told]
    package.answer = "\n "
    assert Translator(ServiceEngine()).translate(["a"]).found == {"a": Failure("empty translation")}


def test_a_package_that_can_not_be_imported(monkeypatch):
    Package(monkeypatch, at_import=TranslatorError("Unable to connect the Internet."))
    with pytest.raises(ServiceError, match="Unable to connect"):
        ServiceEngine().translate(["a"], HOP)
    Package(monkeypatch, at_import=ImportError("No module named 'exejs'"))
    with pytest.raises(MissingExtraError, match="exejs"):
        ServiceEngine().translate(["a"], HOP)


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="needs the package translators") as raised:
        ServiceEngine()
    assert 'pip install "memeblend[translators]"' in raised.value.fix
