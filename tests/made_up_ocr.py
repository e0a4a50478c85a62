"""An OCR engine for tests: it reads what a table says of an image's first pixel."""

from memeblend.data.ocr import OcrLine
from memeblend.errors import ImageError


class MadeUpEngine:
    """Reads `texts[red of the first pixel]`, else `otherwise`; `fails` makes it fail."""

    name = "rapidocr"
    version = "made up"

    def __init__(self, otherwise="a lovely thing", texts=None, fails=False):
        self.otherwise, self.texts, self.fails = otherwise, texts or {}, fails
        self.num_read = 0

    def lines(self, pixels):
        self.num_read += 1
        if self.fails:
            raise ImageError("the engine is out of order")
        text = self.texts.get(int(pixels[0, 0, 0]), self.otherwise)
        return [OcrLine(text, 0.75, (0.0, 0.0, 9.0, 9.0)), OcrLine("imgflip.com", 0.9, (0.0, 50.0, 9.0, 59.0))]


def install(monkeypatch, engine):
    """Make an engine the one that is installed; None makes none installed."""
    monkeypatch.setattr("memeblend.data.ocr.engines.available", lambda name: engine is not None and name == engine.name)
    monkeypatch.setattr("memeblend.data.ocr.reader.make_engine", lambda name, settings, notify: engine)
    return engine
