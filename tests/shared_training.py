"""What workers of one training of labelled memes do, beside what a process alone does: see `gloo_workers`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from memeblend.candidates.making import plan
from memeblend.data.images import ImageTransform
from memeblend.data.manifest import Manifest
from memeblend.labels import LabelTask
from memeblend.models import build_model
from memeblend.models.config import MemeConfig
from memeblend.models.lora import Adapters
from memeblend.models.tokenizer import train_tokenizer
from memeblend.recipe import Recipe, load_recipe
from memeblend.recipe.candidates import NeuralCandidate
from memeblend.recipe.parts import CrossEntropy, Encoder, Focal, TinyEncoder, Training
from memeblend.run import claim
from memeblend.run.work import Work, begin
from memeblend.training.batches import MemeDataset
from memeblend.training.blending import Blending, GradientModulation
from memeblend.training.encoder import start_encoders
from memeblend.training.features import state_dataset, without_encoders
from memeblend.training.objective import make_objective
from memeblend.training.preprocessing import Memes, Preprocessor
from memeblend.training.progress import Silent
from memeblend.training.trainer import TrainJob, _trainer
from memeblend.training.workers import Workers

TASKS = (LabelTask("mood", "binary", ("bad", "good")), LabelTask("topic", "nominal", ("cat", "dog", "tax")))
ENCODER = Encoder(
    max_length=16,
    tiny=TinyEncoder(
        hidden_size=16, text_layers=1, image_layers=1, num_heads=2, image_size=16, patch_size=8, vocab_size=300
    ),
)
WEIGHTS = {"text": 0.5, "image": {"mood": 0.25, "topic": 2.0}, "fused": 1.0}
CASES = ("text", "fusion", "align", "modulated", "frozen", "lora")
BATCHES = (list(range(11)), list(range(20, 23)), [30])
"""The second has too few memes for four workers, the third for two; in the second one label task has no label."""
RECIPE = """
name = "shared"
copies = 1
encoder = { source = "tiny", max_length = 12, tiny = { hidden_size = 16, text_layers = 1, image_layers = 1, \
num_heads = 2, image_size = 16, patch_size = 8, vocab_size = 300 } }
training = { num_epochs = 2, batch_size = 7, learning_rate = 1e-3 }
losses = { mood = { kind = "focal", gamma = 2.0 }, level = { kind = "cross_entropy", class_weights = "balanced" } }
candidates = [
  { kind = "text", lstm_hidden_size = 8 },
  { kind = "image" },
  { kind = "fusion", num_blocks = 1, num_heads = 2 },
  { kind = "fusion", start = "encoder", num_blocks = 1, num_heads = 2, blending = "online", \
estimation = { super_epoch = 1 } },
  { kind = "oscar", hidden_size = 16, num_layers = 1, num_heads = 2, dropout = 0.0 },
]
"""


def without_dropout() -> None:
    """What is left out at random can't be the same for one and for several."""
    torch.nn.Dropout.forward = lambda self, values: values


def made_memes() -> tuple[Memes, np.ndarray]:
    """Memes, and their labels with some missing."""
    texts = ["good cat", "bad dog here", "good tax", "bad tax return today", "good dog", "bad cat and more"] * 6
    preprocessor = Preprocessor(
        train_tokenizer(texts, 300, 16), 16, ImageTransform(16, "letterbox"), (0.5,) * 3, (0.25,) * 3
    )
    images = np.random.default_rng(0).integers(0, 256, (len(texts), 16, 16, 3), dtype=np.uint8)
    mood = [int("good" in text) for text in texts]
    topic = [next(i for i, word in enumerate(("cat", "dog", "tax")) if word in text) for text in texts]
    labels = np.stack([np.array(mood), np.array(topic)], axis=1).astype(np.int64)
    labels[::3, 0] = -1
    labels[20:23, 1] = -1
    return Memes(texts, images, preprocessor, [f"made/{row}" for row in range(len(texts))], [None] * len(texts)), labels


def steps(case: str, workers: Workers, folder: Path) -> list:
    """Loss and gradients of each batch."""
    memes, labels = made_memes()
    torch.manual_seed(0)
    clip = start_encoders(ENCODER, memes.preprocessor)
    kind = case if case in ("text", "align") else "fusion"
    states = "bfloat16" if case == "frozen" else "float32"
    config = MemeConfig(clip.config, TASKS, lstm_hidden_size=8, num_heads=2, num_blocks=1, encoder_states=states)
    model = build_model(kind, config, clip)
    losses = {"mood": Focal(kind="focal", gamma=2.0), "topic": CrossEntropy(class_weights="balanced")}
    objective = make_objective(TASKS, losses, labels, {"text": 1.0} if kind == "text" else WEIGHTS)
    data = MemeDataset(memes, labels, text=True, image=kind != "text")
    if case == "frozen":
        data = state_dataset(model.eval(), memes, labels, WEIGHTS)
    blending = GradientModulation(TASKS, 0.5, noise=False) if case == "modulated" else Blending()
    if case == "lora":
        Adapters(model, 2)
    found = []

    def take_steps() -> None:
        job = TrainJob(
            case, folder, Training(batch_size=11), objective, data, data, 3, Silent(), blending, workers=workers
        )
        silent = {"eval_strategy": "no", "save_strategy": "no", "logging_strategy": "no", "report_to": []}
        trainer = _trainer(model, job, [], **silent)
        trainer.current_gradient_accumulation_steps = 1  # set in `train`
        for rows in BATCHES:
            model.zero_grad()
            loss = trainer.training_step(model, trainer.data_collator(rows))
            grads = {name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None}
            found.append((loss, grads))

    if case == "frozen":
        with without_encoders(model):
            take_steps()
    else:
        take_steps()
    return found


def recipe_in(folder: Path, *settings: str) -> Recipe:
    """The recipe of `train_all`, written into a folder."""
    path = folder / "shared.toml"
    path.write_text(RECIPE, encoding="utf-8")
    return load_recipe(path, settings)


def train_all(workers: Workers, folder: Path, *settings: str) -> list[str]:
    """Train the neural candidates of a run in folder/run; gives their names."""
    recipe = recipe_in(folder, *settings)
    manifest = Manifest.read(folder / "data" / "memes.csv")

    def ready() -> None:
        claim(folder / "run")
        begin(manifest, recipe, folder / "run", cache_dir=folder / "cache", progress=Silent()).make_ready()

    workers.from_first(ready)
    own = begin(manifest, recipe, folder / "run", cache_dir=folder / "cache", progress=Silent())
    work = Work(own.folder, own.recipe, own.manifest, own.roles, own.groups, own.cache_dir, Silent(), workers)
    names = [one.name for one in plan(recipe) if isinstance(one.spec, NeuralCandidate)]
    for one in plan(recipe):
        work.make(one)
    return names
