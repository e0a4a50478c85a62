"""Back-translation of memes' texts: engines, a chain of languages, a cache, retries.

The paper translates the texts of Memotion 3 to Hindi and back to English, so that English and mixed Hindi-English
memes read alike. Nothing here imports torch or calls a service until an engine is made that needs it.
"""

from memeblend.translation.engines import ENGINES, Engine, Failure, Hop, ServiceError
from memeblend.translation.memes import RAW_TEXT, STATUS, TranslatedMemes, translate_memes
from memeblend.translation.pace import Pace
from memeblend.translation.translator import CACHE_FILE, Translations, Translator, translation_cache

__all__ = [
    "CACHE_FILE",
    "ENGINES",
    "RAW_TEXT",
    "STATUS",
    "Engine",
    "Failure",
    "Hop",
    "Pace",
    "ServiceError",
    "TranslatedMemes",
    "Translations",
    "Translator",
    "translate_memes",
    "translation_cache",
]
