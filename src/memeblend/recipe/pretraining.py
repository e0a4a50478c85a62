"""Settings of contrastive pre-training, each with its meaning beside it."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from memeblend.recipe.parts import Encoder, NonNegative, Part, Positive, Probability

Share = Annotated[float, Field(ge=0, le=1)]


class Rendering(Part):
    """Texts drawn onto blank templates, so that the image encoder sees what users' memes look like."""

    share: Share = 0.5
    """Share of the pairs with a template that are shown with their text, drawn anew each time; 0 draws none."""
    template_texts: Annotated[int, Field(ge=2)] = 10
    """From so many distinct texts on, an image counts as a blank template."""
    font: str = "dejavu"
    """"dejavu" (comes with matplotlib), "anton" (like Impact; extra `render`), or a .ttf or .otf file."""


class Pretraining(Part):
    """How an encoder is pre-trained on pairs of image and text."""

    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """The one seed from which all others follow."""
    splits: tuple[str, ...] = ("train", "all")
    """Splits whose memes are used; "all" is what memes of a data set without splits have."""
    num_validation: PositiveInt = 2000
    """Pairs held back to validate, at most a fifth of all; no text is on both sides."""
    encoder: Encoder = Encoder()
    """What to start from, as in a recipe: "tiny" starts at random, with a tokenizer made from the texts."""
    rendering: Rendering = Rendering()
    loss: Literal["clip", "sigmoid"] = "clip"
    """Softmax over the batch (CLIP, paper equations 1 to 3), or a sigmoid for each pair (SigLIP)."""
    same_pairs: Literal["mask", "multiple", "plain"] = "mask"
    """Other pairs of the batch with the same text, or the same image unless it shows their text: left out ("mask"),
    further right answers ("multiple"), or wrong answers as in the paper ("plain")."""
    hard_share: Probability = 0.0
    """Share of a batch that is drawn from the images of the rest: same template, other text."""
    num_steps: PositiveInt = 2000
    """Steps of the optimizer."""
    batch_size: Annotated[int, Field(ge=2)] = 256
    """Pairs a step."""
    chunk_size: Annotated[int, Field(ge=0)] = 0
    """With gradient caching: texts and images that are encoded at a time, so that memory does not grow with
    `batch_size`; each is then encoded twice. 0 encodes the whole batch at once."""
    learning_rate: Positive = 5e-4
    """Peak learning rate of AdamW."""
    weight_decay: NonNegative = 0.1
    """AdamW weight decay; biases and norms have none."""
    adam_beta2: Probability = 0.98
    """Decay of AdamW's mean of squared gradients; CLIP's. PyTorch's own default is .999."""
    adam_epsilon: Positive = 1e-6
    """What AdamW adds to their root; CLIP's. PyTorch's own default is 1e-8."""
    schedule: Literal["constant", "cosine"] = "cosine"
    """Learning rate after the warm-up."""
    warmup_ratio: Probability = 0.05
    """Share of the steps in which the learning rate rises from 0."""
    max_grad_norm: NonNegative = 1.0
    """Gradients are scaled down to this norm; 0 leaves them alone."""
    max_logit_scale: Annotated[float, Field(ge=1)] = 100.0
    """exp(logit_scale) is kept between 1 and this."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """What the encoders compute in. "auto": bfloat16 on a GPU that computes in it, else float32. On a CPU with AMX
    bfloat16 is faster for all but the smallest encoders, on other CPUs slower."""
    gradient_checkpointing: bool = False
    """Compute the encoders' inner states again when they are needed: slower, with less memory."""
    eval_every: PositiveInt = 500
    """Steps between validations; each also writes a checkpoint to go on from."""
    validation_batch_size: Annotated[int, Field(ge=2)] = 256
    """Pairs of a batch in which the validation loss is taken; that loss depends on it."""
    num_workers: Annotated[int, Field(ge=0, le=64)] = 0
    """Processes that make batches ready beside the training; 0 does it in between."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.chunk_size >= self.batch_size:
            raise ValueError(f"chunk_size {self.chunk_size} is not below batch_size {self.batch_size}; 0 is the whole")
        if round(self.hard_share * self.batch_size) > self.batch_size - 1:
            raise ValueError(f"hard_share {self.hard_share} leaves no pair to start from")
        return self
