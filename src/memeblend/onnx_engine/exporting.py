"""`export_onnx`: a model folder as ONNX graphs, checked against the model before it is there."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from memeblend import __version__
from memeblend.candidates.base import Candidate
from memeblend.candidates.features import StateReader
from memeblend.candidates.neural import Neural
from memeblend.candidates.oscar import Oscar
from memeblend.candidates.states import SHARED, STATES, FeatureCandidate
from memeblend.candidates.tfidf import Tfidf
from memeblend.data.manifest import Manifest
from memeblend.errors import ModelError, Problem
from memeblend.files import file_digest, replacing_folder, write_json
from memeblend.model import MemeClassifier
from memeblend.model.card import write_card
from memeblend.model.folder import CARD, files_of, model_folder, read_state
from memeblend.model.folder import FILE as MODEL_FILE
from memeblend.onnx_engine.checking import TOLERANCE, compare, random_memes
from memeblend.onnx_engine.classifier import OnnxClassifier
from memeblend.onnx_engine.folder import FILE, FORMAT, TOKENIZER, GraphFile, MemberFiles
from memeblend.onnx_engine.graphs import (
    OPSET,
    EncoderState,
    GridLogits,
    Logits,
    PooledStates,
    check_packages,
    quantize,
    write_graph,
)
from memeblend.training.preprocessing import prepare
from memeblend.training.progress import Progress, Silent

_NUM_RANDOM = 64
_CANDIDATES = "candidates"
_READS = {"text": ("text",), "image": ("image",), "fused": ("text", "image")}


def export_onnx(
    model: str | Path,
    out: str | Path,
    *,
    int8: bool = False,
    memes: Manifest | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Export a model, check what the export says against the model, and write it.

    Args:
        model: a model folder or a run.
        out: the folder to write; an export that is there is replaced as a whole.
        int8: keep weights as 8-bit integers. How far the classes then agree is told, not demanded.
        memes: memes to check with; None takes random ones.
        progress: who watches.

    Returns:
        {"format", "opset", "int8", "model" (digest of the model's facts), "check": see `compare`, with "memes" and,
        for int8, "int8"; "num_bytes" of the graphs}.

    Raises:
        ModelError: the model can't be used, has members that can't be exported (all are listed), or the export says
            something else than the model.
        MissingExtraError: a package of the extra `export` is not installed.
        OutputError: the folder can't be written; what was there before is untouched.
    """
    check_packages()
    watch = progress or Silent()
    source = model_folder(model)
    state = read_state(source)
    classifier = MemeClassifier.load(source)
    _check_members(classifier.candidates_)
    facts: dict[str, Any] = {
        "format": "onnx",
        "opset": OPSET,
        "int8": int8,
        "memeblend": __version__,
        "model": file_digest(source / MODEL_FILE),
        "preprocessing": _contract(classifier),
    }
    with replacing_folder(out, marker=FILE) as temporary:
        graphs = _write_members(classifier, source, state, temporary, watch)
        facts["check"] = _checked(classifier, temporary, state, facts, memes, watch)
        if int8:
            quantize(graphs)
            facts["check"]["int8"] = _compared(classifier, temporary, state, facts, memes)
        facts["num_bytes"] = sum(path.stat().st_size for path in graphs)
        _write_facts(temporary, state, facts)
    return facts


def _check_members(candidates: Mapping[str, Candidate]) -> None:
    problems = [
        Problem(name, reason) for name, candidate in candidates.items() if (reason := _why_not(candidate)) is not None
    ]
    if problems:
        raise ModelError(
            "Some members of this model can't be exported:",
            problems=problems,
            fix="Choose an ensemble from a pool without them (memeblend ensemble search RUN --set "
            "'ensemble.pools.exported=[\"NAME\", ...]' --set ensemble.pool=exported), then export that model.",
        )


def _why_not(candidate: Candidate) -> str | None:
    """Why a candidate can't be exported; None if it can."""
    match candidate:
        case Neural() | FeatureCandidate() | Tfidf():
            return None
        case Oscar() if candidate.needs_image:
            return None
        case Oscar():
            return f"reads regions from the file '{candidate.spec.regions}', which belong to known memes"
        case _:
            return "compares memes with prompts in torch, which has no exported form yet"


def _write_members(
    classifier: MemeClassifier, source: Path, state: Mapping[str, Any], folder: Path, watch: Progress
) -> list[Path]:
    """Write everything but the facts; returns the graphs."""
    for name in state["files"]:  # and nothing else that happens to lie there
        if not name.startswith(f"{_CANDIDATES}/") and name != CARD:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, folder / name)
    write_card(folder, state, exported=True)
    image_size = classifier.preprocessor_.transform.size
    watch.start("exporting members", len(classifier.candidates_))
    for position, (name, candidate) in enumerate(classifier.candidates_.items()):
        of_member, saved = folder / _CANDIDATES / name, source / _CANDIDATES / name
        of_member.mkdir(parents=True)
        match candidate:
            case Neural():
                _write_neural(candidate, of_member, image_size)
            case Oscar():
                _write_oscar(candidate, of_member, image_size)
                shutil.copytree(saved / TOKENIZER, of_member / TOKENIZER)
            case _:
                for path in saved.iterdir():
                    if path.is_file():
                        shutil.copyfile(path, of_member / path.name)
                if isinstance(candidate, FeatureCandidate):
                    (of_member / STATES).mkdir()
                    _write_states(candidate, of_member / STATES, image_size)
        watch.advance(position + 1)
    return sorted(folder.rglob("*.onnx"))


def _write_neural(candidate: Neural, folder: Path, image_size: int) -> None:
    reads = ("text",) * candidate.needs_text + ("image",) * candidate.needs_image
    modules = {key: (Logits(model), tuple(model.config.num_classes())) for key, model in candidate.models.items()}
    MemberFiles(reads, _write_modules(modules, folder, reads, image_size)).write(folder)


def _write_oscar(candidate: Oscar, folder: Path, image_size: int) -> None:
    reads = _READS["fused"]
    modules = {
        key: (GridLogits(model, candidate.vision, candidate.spec.max_regions), tuple(model.config.num_classes()))
        for key, model in candidate.models.items()
    }
    graphs = _write_modules(modules, folder, reads, image_size)
    MemberFiles(reads, graphs, candidate.spec.max_text_length).write(folder)


def _write_modules(
    modules: Mapping[str, tuple[nn.Module, tuple[str, ...]]], folder: Path, reads: tuple[str, ...], image_size: int
) -> dict[str, tuple[GraphFile, ...]]:
    """A graph for each model, with the label tasks of its outputs."""
    found: dict[str, tuple[GraphFile, ...]] = {}
    for position, (key, (module, names)) in enumerate(modules.items()):
        found[key] = (_write_one(module, folder, str(position), names, reads, image_size),)
    return found


def _write_states(candidate: FeatureCandidate[Any], folder: Path, image_size: int) -> None:
    """A graph for each space and feature."""
    reader = candidate.reader
    assert isinstance(reader, StateReader), "a model in memory reads states with torch"
    found = {}
    for number, (space, modules) in enumerate(_state_modules(reader).items()):
        found[space] = tuple(
            _write_one(module, folder, f"{number}-{feature}", (feature,), _READS[feature], image_size)
            for feature, module in zip(reader.features, modules, strict=True)
        )
    MemberFiles(tuple(reader.features), found).write(folder)


def _state_modules(reader: StateReader) -> dict[str, list[nn.Module]]:
    if reader.encoders is not None:
        return {SHARED: [EncoderState(reader.encoders, feature) for feature in reader.features]}
    pairs = list(zip(reader.features, reader.candidates, strict=True))
    return {
        space: [PooledStates(candidate.models[space], feature) for feature, candidate in pairs]
        for space in reader.candidates[0].models
    }


def _write_one(
    module: nn.Module, folder: Path, stem: str, outputs: tuple[str, ...], reads: tuple[str, ...], image_size: int
) -> GraphFile:
    file = f"{stem}.onnx"
    write_graph(
        module,
        folder / file,
        text="text" in reads,
        image_size=image_size if "image" in reads else 0,
        num_outputs=len(outputs),
    )
    return GraphFile(file, outputs)


def _contract(classifier: MemeClassifier) -> dict[str, Any]:
    """What a graph's inputs are made of, for those who run one elsewhere."""
    preprocessor = classifier.preprocessor_
    return {
        "input_ids": "int64 [batch, length]: tokens of preprocessor/tokenizer.json with begin and end token, cut to "
        "max_length before the end token, padded on the right",
        "attention_mask": "int64 [batch, length]: 1 for tokens, 0 for padding",
        "pixel_values": "float32 [batch, 3, size, size]: (RGB / 255 - mean) / std",
        "max_length": preprocessor.max_length,
        "pad_token_id": int(preprocessor.tokenizer.pad_token_id),
        **preprocessor.transform.to_dict(),
        "mean": list(preprocessor.mean),
        "std": list(preprocessor.std),
    }


def _checked(
    classifier: MemeClassifier,
    folder: Path,
    state: Mapping[str, Any],
    facts: Mapping[str, Any],
    memes: Manifest | None,
    watch: Progress,
) -> dict[str, Any]:
    """What the check found.

    Raises:
        ModelError: classes differ, or probabilities by more than the tolerance.
    """
    watch.start("checking the export", 1)
    found = _compared(classifier, folder, state, facts, memes)
    watch.advance(1, f"largest difference {found['largest_difference']:.1e}")
    if found["largest_difference"] > TOLERANCE or found["agreement"] < 1:
        worst = max(found["members"], key=lambda name: found["members"][name]["largest_difference"])
        raise ModelError(
            f"The export does not say what the model says: probabilities of '{worst}' differ by up to "
            f"{found['largest_difference']:.2g} (at most {TOLERANCE:g} may), and {found['agreement']:.1%} of the "
            "classes agree.",
            fix="Nothing was written. Trees and nearest neighbours jump where a meme lies upon a step, as those that "
            "they were trained on may: check with other memes. If others differ too, please report this with the "
            "versions of torch and onnxruntime.",
        )
    return found | {"memes": "random" if memes is None else "given", "tolerance": TOLERANCE}


def _compared(
    classifier: MemeClassifier,
    folder: Path,
    state: Mapping[str, Any],
    facts: Mapping[str, Any],
    memes: Manifest | None,
) -> dict[str, Any]:
    _write_facts(folder, state, facts)
    exported = OnnxClassifier.load(folder)
    preprocessor = exported.preprocessor_
    if memes is None:
        return compare(classifier, exported, random_memes(preprocessor, _NUM_RANDOM, seed=0))
    return compare(classifier, exported, prepare(memes, preprocessor, cache_dir=None))


def _write_facts(folder: Path, state: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    (folder / FILE).unlink(missing_ok=True)
    files = {path.relative_to(folder).as_posix(): file_digest(path) for path in files_of(folder)}
    write_json(folder / FILE, {**state, "format": FORMAT, "export": dict(facts), "files": files})
