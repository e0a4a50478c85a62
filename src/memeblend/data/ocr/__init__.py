"""The text in an image, for memes that come without it: engines, reading order, watermarks, a cache.

RapidOCR (extra `ocr`, its models ship in its package) reads Latin and Chinese script; Tesseract, where its program is
installed, also Devanagari. Neither needs a network, and nothing here imports torch.
"""

from memeblend.data.ocr.engines import ENGINES, available, find_engine
from memeblend.data.ocr.reader import TextReader
from memeblend.data.ocr.settings import OcrSettings
from memeblend.data.ocr.text import OcrLine, OcrText

__all__ = ["ENGINES", "OcrLine", "OcrSettings", "OcrText", "TextReader", "available", "find_engine"]
