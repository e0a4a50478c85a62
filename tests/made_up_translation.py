"""Translators for tests: they write the target language behind each text, and fail as they are told."""

import json
import os

from memeblend.translation import Failure, ServiceError

BUSY = Failure("TooManyRequests 429", "slow down")


class MadeUpEngine:
    """Translates `text` to `text|target`.

    Args:
        fails: texts that always give a ServiceError.
        empty: texts whose translation is empty.
        down: requests that fail before the service comes up.
        kills_at: number of the request at which the process dies.
        wait_s: what a ServiceError asks for.
        version: see `Engine.version`.
    """

    name = "made-up"

    def __init__(self, fails=(), empty=(), down=0, kills_at=None, wait_s=None, version="1", batch_size=1):
        self.fails, self.empty, self.down = set(fails), set(empty), down
        self.kills_at, self.wait_s, self.batch_size = kills_at, wait_s, batch_size
        self._version = version
        self.asked = []

    def version(self, hop):
        return self._version

    def translate(self, texts, hop):
        if self.kills_at == len(self.asked):
            os._exit(9)
        self.asked.append((hop.target, tuple(texts)))
        if self.down:
            self.down -= 1
            raise ServiceError(BUSY, self.wait_s)
        if self.fails & set(texts):
            raise ServiceError(BUSY, self.wait_s)
        return ["  \n" if text in self.empty else f" {text}|{hop.target}\x00" for text in texts]

    @property
    def num_asked(self):
        return len(self.asked)


class Clock:
    """Time that passes by sleeping alone."""

    def __init__(self):
        self.now, self.slept = 100.0, []

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds


class SmallMarian:
    """A Marian model with random weights in the hub's layout, its vocabularies learnt from a few sentences."""

    ENGLISH = (
        "when the bus is late and it rains",
        "my cat is the boss of this house",
        "one does not simply walk home",
    )
    HINDI = (
        "जब बस देर से आती है और बारिश होती है",
        "मेरी बिल्ली इस घर की मालिक है",
        "कोई यूँ ही घर नहीं जाता",
    )

    @classmethod
    def write(cls, folder, source, target, *, seed=0, end=40.0, languages=()):
        """Write the model.

        Args:
            folder: where to.
            source, target: sentences that the vocabularies are learnt from.
            seed: of the weights.
            end: added to the end token's logit; the larger, the shorter translations are.
            languages: target languages that texts must name, as `>>hin<<`.
        """
        import warnings

        import sentencepiece
        import torch
        from transformers import MarianConfig, MarianMTModel, MarianTokenizer

        folder.mkdir(parents=True)
        pieces = ["</s>", "<unk>", *(f">>{language}<<" for language in languages)]
        for name, texts in (("source", source), ("target", target)):
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(texts),
                model_prefix=str(folder / name),
                vocab_size=60,
                hard_vocab_limit=False,
                minloglevel=2,
                model_type="bpe",
            )
            (folder / f"{name}.model").rename(folder / f"{name}.spm")
            (folder / f"{name}.vocab").unlink()
            learnt = sentencepiece.SentencePieceProcessor(model_file=str(folder / f"{name}.spm"))
            found = [learnt.id_to_piece(number) for number in range(learnt.get_piece_size())]
            pieces += [piece for piece in found if piece not in pieces and piece != "<s>"]
        pieces.append("<pad>")
        (folder / "vocab.json").write_text(json.dumps({piece: number for number, piece in enumerate(pieces)}))
        files = (str(folder / name) for name in ("source.spm", "target.spm", "vocab.json"))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Recommended: pip install sacremoses")
            MarianTokenizer(*files).save_pretrained(folder)
        torch.manual_seed(seed)
        sizes = {
            f"{part}_{what}": value
            for part in ("encoder", "decoder")
            for what, value in (("layers", 1), ("attention_heads", 2), ("ffn_dim", 32))
        }
        pad = len(pieces) - 1
        config = MarianConfig(
            vocab_size=len(pieces),
            d_model=32,
            max_position_embeddings=64,
            pad_token_id=pad,
            eos_token_id=0,
            decoder_start_token_id=pad,
            forced_eos_token_id=0,
            init_std=1.0,  # smaller ones say the same of every text
            **sizes,
        )
        model = MarianMTModel(config).eval()
        model.final_logits_bias[0, 0] = end
        for never in (1, pad, pieces.index("▁")):  # or some translations would be empty
            model.final_logits_bias[0, never] = -1e4
        model.generation_config.min_new_tokens = 3
        model.save_pretrained(folder)
        return folder
