"""What goes over the wire. These models belong to the API alone; nothing else of memeblend knows them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

BRANCH_MARK = "~"
"""Begins the name of a branch of a union, which is no place in a request."""


MAX_MEME_ID = 200
"""Characters of a meme's id."""


class _Sent(BaseModel):
    """A part of a request: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid")


class MemeIn(_Sent):
    """A meme: text, image or both."""

    meme_id: Annotated[str, Field(max_length=MAX_MEME_ID)] | None = None
    """Comes back in the answer; the meme's position where there is none."""
    text: str | None = None
    """The text in the image. Without it (an empty one is one), a server that has OCR reads it."""
    image: str | None = None
    """The image file in base64, bare or as a `data:` URI. Addresses are never fetched."""


class ExplainRequest(MemeIn):
    """A meme to explain."""

    label_task: str | None = None
    """Explain this trained label task alone; all when left out."""
    class_name: str | None = None
    """Explain this class of it instead of the one decided for."""
    cheap: bool = False
    """Leave out integrated gradients, which take many times as long."""


class PredictRequest(_Sent):
    """Memes to classify."""

    memes: Annotated[list[MemeIn], Field(min_length=1)]


class TextPart(_Sent):
    """A text of a moderation's input."""

    type: Literal["text"]
    text: str


class ImageAddress(_Sent):
    """Where an image is: in the address itself."""

    url: str
    """A `data:` URI; remote addresses are never fetched."""
    detail: str | None = None
    """Taken for compatibility, without influence."""


class ImagePart(_Sent):
    """An image of a moderation's input."""

    type: Literal["image_url"]
    image_url: ImageAddress


InputPart = Annotated[TextPart | ImagePart, Field(discriminator="type")]


def _branch(value: Any) -> str:
    """Which form of input a value is meant to be, so that its faults are told of that form alone."""
    if isinstance(value, list):
        return BRANCH_MARK + ("texts" if value and isinstance(value[0], str) else "parts")
    return BRANCH_MARK + "text"


class ModerationRequest(_Sent):
    """A text, several texts (a result for each), or the parts of one meme (one result)."""

    input: Annotated[
        Annotated[str, Tag(BRANCH_MARK + "text")]
        | Annotated[list[str], Field(min_length=1), Tag(BRANCH_MARK + "texts")]
        | Annotated[list[InputPart], Field(min_length=1), Tag(BRANCH_MARK + "parts")],
        Discriminator(_branch),
    ]
    model: str | None = None
    """Taken for compatibility; a server has one model."""


class LabelOut(BaseModel):
    """What the model says of one label task."""

    model_config = ConfigDict(serialize_by_alias=True, validate_by_name=True)

    class_name: str = Field(alias="class")
    probabilities: dict[str, float]
    votes: dict[str, str] | None = None
    """Each member's class; derived label tasks have no votes of their own."""


class OcrOut(BaseModel):
    """How a text was read."""

    engine: str
    confidence: float
    """From 0 to 1, a mean over the characters; engines do not mean the same by it."""


class CategoryVerdict(BaseModel):
    """What a policy does about one category of a meme."""

    verdict: Literal["pass", "review", "auto"]
    score: float
    """The model's probability that the category is there."""
    calibrated: float
    """The same, calibrated on the model's validation; the policy's limits are for this."""
    interval: tuple[float, float] | None
    """95 % interval of the calibrated score; null where the policy has no calibration."""


class MemeVerdict(BaseModel):
    """What a policy does about a meme."""

    verdict: Literal["pass", "review", "auto"]
    """The gravest of its categories."""
    categories: dict[str, CategoryVerdict]
    sets: dict[str, list[str]]
    """For each label task the classes that hold the true one with the policy's coverage."""


class MemeOut(BaseModel):
    """What the model says of one meme."""

    meme_id: str
    label_tasks: dict[str, LabelOut]
    policy: MemeVerdict | None = None
    """Where the server follows a policy."""
    ocr_text: str | None = None
    """What was read in the image of a meme that came without text."""
    ocr: OcrOut | None = None


class PredictAnswer(BaseModel):
    """A meme for each that was sent, in their order."""

    model: str
    memes: list[MemeOut]


class FittedOut(BaseModel):
    """How the image was fitted into the square whose patches have scores."""

    size: int
    """Side of the square, in pixels."""
    fit: Literal["letterbox", "crop"]
    """The whole image on grey, or its middle."""


class ExplainAnswer(BaseModel):
    """Why the model decided on a meme as it did."""

    model: str
    cheap: bool
    """Whether integrated gradients were left out: as asked, or since the server lacks the extra `explain`."""
    fitted: FittedOut | None
    """Null for a meme without an image."""
    explanation: dict[str, Any]
    """As `memeblend explain --json` prints it."""


class ModerationResult(BaseModel):
    """The verdict on one input."""

    flagged: bool
    categories: dict[str, bool]
    category_scores: dict[str, float]
    category_applied_input_types: dict[str, list[Literal["text", "image"]]]
    ocr_text: str | None = None
    """What was read in the image of an input without text."""


class ModerationAnswer(BaseModel):
    """A result for each input."""

    id: str
    model: str
    results: list[ModerationResult]


class LabelTaskOut(BaseModel):
    """A label task of the model."""

    name: str
    kind: Literal["nominal", "ordinal", "binary"]
    classes: list[str]
    derived: bool
    """Whether it follows from another label task's intensity levels."""
    members: list[str]


class MemberOut(BaseModel):
    """A member of the model's ensembles."""

    name: str
    reads: list[Literal["text", "image"]]


class PolicyOut(BaseModel):
    """The policy that the server follows."""

    fits: bool
    """Whether it was fitted on this model."""
    limits: dict[str, tuple[float, float]]
    """For each category the calibrated scores from which memes are reviewed, and acted on."""
    content: dict[str, Any]
    """All of it, as its file holds it."""


class CategoryOut(BaseModel):
    """A category of `/v1/moderations`."""

    name: str
    threshold: float | None
    """Score from which it is given; null leaves it to the model's decision."""
    flags: bool
    """Whether it makes an input `flagged`."""


class LimitsOut(BaseModel):
    """What a request may hold."""

    max_memes: int
    max_body_bytes: int
    max_text_characters: int
    max_image_bytes: int
    max_image_pixels: int
    deadline_s: float


class ModelAnswer(BaseModel):
    """The model that is served."""

    model: str
    memeblend: str
    """Version of memeblend that serves it."""
    label_tasks: list[LabelTaskOut]
    members: list[MemberOut]
    categories: list[CategoryOut]
    policy: PolicyOut | None
    limits: LimitsOut
    ocr: str | None
    """The engine that reads memes without text; null where they count as memes with an empty one."""
    scores: dict[str, Any]
    data: dict[str, Any]
    card: str
    """The model card, in Markdown."""
    folder_changed: bool
    """Whether the model's folder now holds something else; what was loaded is served until the server restarts."""


class Health(BaseModel):
    """Whether the server is well."""

    status: Literal["ok"] = "ok"


class ProblemBody(BaseModel):
    """One thing that is wrong with a request."""

    where: str
    what: str


class ErrorBody(BaseModel):
    """Why a request was not served."""

    message: str
    type: str
    code: str
    param: None = None
    problems: list[ProblemBody]


class ErrorAnswer(BaseModel):
    """The answer to every request that was not served."""

    error: ErrorBody
