"""What the commands do; imported by a command when it runs, since it brings pandas and more with it."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from memeblend.cli.output import (
    Bars,
    candidates_table,
    messages,
    print_json,
    quiet_libraries,
    results,
    scores_table,
)
from memeblend.cli.reading import columns_of, load_model, notify, read_inputs, read_memes
from memeblend.data.manifest import Manifest
from memeblend.errors import DataError
from memeblend.files import replacing
from memeblend.onnx_engine.folder import is_export
from memeblend.predictions import check_suffix
from memeblend.ray_session import need_ray
from memeblend.recipe import Recipe, dump_recipe, load_recipe, preset_names
from memeblend.recipe.candidates import stem

if TYPE_CHECKING:
    from memeblend.policy import Policy

SYNTHETIC = "These memes are synthetic: drawn by memeblend itself. Scores on them say nothing of real memes."


@dataclass(frozen=True)
class FitRequest:
    """The options of `fit`, as the command line has them."""

    data: Path
    out: Path
    recipe: str
    settings: Sequence[str]
    label_task: Sequence[str]
    limit: int
    skip_bad: bool
    reader: str
    column: Sequence[str]
    allow_outside: bool
    num_workers: int = 0
    address: str = ""


def run_fit(request: FitRequest, json_output: bool) -> None:
    """`memeblend fit`."""
    settings = list(request.settings)
    if request.label_task:
        settings.append(f"only_label_tasks={json.dumps(list(request.label_task))}")
    from memeblend.run import check_free

    recipe = load_recipe(request.recipe, settings)
    check_free(request.out)
    if request.num_workers or request.address:
        need_ray("Several workers and clusters")
    manifest = _read_to_fit(request, recipe)
    if recipe.only_label_tasks:
        manifest = manifest.with_label_tasks(recipe.only_label_tasks)
    if request.limit:
        if request.limit < len(manifest.split_names):
            raise DataError(f"--limit {request.limit} is fewer memes than the {len(manifest.split_names)} splits.")
        manifest = manifest.limit(request.limit, recipe.seed)
    _fit_and_show(manifest, recipe, request.out, json_output, request.num_workers, request.address)


def _read_to_fit(request: FitRequest, recipe: Recipe) -> Manifest:
    """The memes to train on; with --skip-bad what is dropped is listed in RUN/rejected.csv, anew each time."""
    from memeblend.run import claim, drop_unreadable, read_labelled

    with tempfile.TemporaryDirectory() as folder:
        rejected = Path(folder) / "rejected.csv"
        manifest = read_labelled(
            request.data,
            recipe,
            reader=request.reader or None,
            columns=columns_of(request.column),
            skip_bad=request.skip_bad,
            rejected_to=rejected if request.skip_bad else None,
            allow_outside=request.allow_outside,
            notify=notify,
        )
        if request.skip_bad and manifest.has_images:
            manifest = drop_unreadable(manifest, recipe, rejected, notify=notify)
        if rejected.is_file():
            claim(request.out)
            with replacing(request.out / rejected.name) as temporary:
                shutil.copyfile(rejected, temporary)
            notify(f"what was dropped is listed with reasons in {request.out / rejected.name}")
    return manifest


def _fit_and_show(
    manifest: Manifest, recipe: Recipe, out: Path, json_output: bool, num_workers: int = 0, address: str = ""
) -> Any:
    from memeblend.model import MemeClassifier
    from memeblend.reporting import summary

    with quiet_libraries(), Bars() as bars:
        if num_workers or address:
            from memeblend.scale.fitting import fit_with_workers

            model = fit_with_workers(
                manifest, recipe, out, num_workers=num_workers or 1, address=address, progress=bars
            )
        else:
            model = MemeClassifier(recipe, out=out, progress=bars).fit(manifest)
    found = summary(model.report_) | {"run": str(out), "model": str(out / "model")}
    if json_output:
        print_json(found)
        return model
    _show_scores(found)
    for name, chosen in found["ensembles"].items():
        where = ", ".join(chosen["selected_on"])
        expected = "" if chosen["expected"] is None else f", {chosen['expected']:.3f} to expect"
        results.print(
            f"{name}: {', '.join(chosen['members'])} "
            f"(chosen on '{where}', {chosen['objective'].replace('_f1', ' F1')} {chosen['score']:.3f} there{expected})",
            markup=False,
        )
    results.print(f"report: {out / 'report.html'}\nmodel:  {out / 'model'}", soft_wrap=True)
    return model


def _show_scores(found: dict[str, Any]) -> None:
    split = found["split"]
    results.print(f"\nCandidates: weighted F1 on '{split}' (reports)", markup=False)
    results.print(candidates_table(found["candidates"]))
    results.print(f"\nEnsembles on '{split}' (reports), {found['num_memes']} memes", markup=False)
    results.print(scores_table(found))


def run_demo(out: Path, num_memes: int, json_output: bool) -> None:
    """`memeblend demo`."""
    from memeblend.data.sample import sample_manifest
    from memeblend.reporting import summary

    messages.print(f"Drawing {num_memes} memes. {SYNTHETIC}")
    manifest = sample_manifest(out / "sample", num_memes)
    model = _fit_and_show(manifest, load_recipe("tiny", ["copies=1"]), out / "run", json_output)
    if json_output:
        return
    scores = summary(model.report_)["candidates"]["sarcastic"]
    uni_modal = {name: scores[name] for name in scores if name.split("-")[0] in ("text", "image", "tfidf")}
    multi_modal = {name: scores[name] for name in scores if name not in uni_modal}
    best_uni, best_multi = max(uni_modal, key=uni_modal.__getitem__), max(multi_modal, key=multi_modal.__getitem__)
    results.print(
        f"\nSarcasm here is text and image disagreeing: {best_multi} ({multi_modal[best_multi]:.3f}) reads both, "
        f"{best_uni} ({uni_modal[best_uni]:.3f}) is the best that reads one. {SYNTHETIC}\n"
    )
    image = next((out / "sample" / "images").iterdir())
    results.print(
        f"Next:\n  memeblend predict {out / 'run'} {image} --text 'what a lovely day'\n"
        f"  memeblend serve {out / 'run'}\n"
        "  memeblend fit YOUR_DATA --out YOUR_RUN",
        soft_wrap=True,
        markup=False,
    )


def run_doctor(data: Path, reader: str, column: Sequence[str], allow_outside: bool, json_output: bool) -> None:
    """`memeblend doctor`."""
    from memeblend.data.doctor import diagnose, render

    with Bars() as bars:
        diagnosis = diagnose(
            data,
            reader=reader or None,
            columns=columns_of(column),
            allow_outside=allow_outside,
            notify=notify,
            progress=bars,
        )
    if json_output:
        print_json(diagnosis.to_dict())
    else:
        results.print(render(diagnosis))


def run_evaluate(
    model: Path,
    data: Path,
    split: str,
    reader: str,
    column: Sequence[str],
    allow_outside: bool,
    json_output: bool,
) -> None:
    """`memeblend evaluate`."""
    classifier = load_model(model, exported=True)
    manifest = read_memes(data, reader, column, allow_outside, classifier.label_tasks_)
    with quiet_libraries(transformers=not is_export(model)):
        found = classifier.evaluate(manifest, split)
    if json_output:
        print_json(found)
        return
    results.print(f"Split '{found['split']}', {found['num_memes']} memes", markup=False)
    if found["num_seen"]:
        messages.print(
            f"{found['num_seen']} of these memes trained the model or chose its members: these scores flatter it."
        )
    results.print(scores_table(found))
    for name, of_task in found["label_tasks"].items():
        results.print(f"{name}: {of_task['verdict']}", markup=False)


def run_predict(
    model: Path,
    inputs: Sequence[Path],
    texts: Sequence[str],
    out: Path | None,
    reader: str,
    column: Sequence[str],
    allow_outside: bool,
    policy: Path | None,
    ocr: str,
    json_output: bool,
) -> None:
    """`memeblend predict`."""
    from memeblend.cli.ocr import texts_for, with_texts_read
    from memeblend.data.ocr.engines import INSTALL, find_engine

    if out is not None:
        check_suffix(out)
    engine = find_engine(ocr)
    manifest = read_inputs(inputs, texts, reader, column, allow_outside)
    classifier = load_model(model, exported=True)
    decides = None if policy is None else _read_policy(policy, classifier)
    read = None
    if not manifest.has_texts and not texts and any("text" in what for what in classifier.reads_.values()):
        if engine is not None:
            manifest, read = texts_for(manifest, engine)
        else:
            how = "" if ocr == "none" else f" To have it read from the images: {INSTALL}"
            messages.print(
                f"These memes come without text; members that read text see an empty one.{how}", markup=False
            )
    messages.print(f"Classifying {len(manifest)} meme(s) with {', '.join(classifier.members_)} ...")
    with quiet_libraries(transformers=not is_export(model)):
        predictions = classifier.predict_tables(manifest)
    if read is not None and engine is not None:
        predictions = with_texts_read(predictions, read, engine)
    if decides is not None:
        predictions = replace(predictions, policy=decides.decide(predictions.tables))
    if out is not None:
        predictions.write(out)
        messages.print(f"Wrote {len(manifest)} row(s) to {out}", soft_wrap=True)
    if json_output:
        print_json({"num_memes": len(manifest), "memes": predictions.to_records()})
    elif out is None:
        for record in predictions.to_records():
            results.print(_record_table(record))


def _read_policy(path: Path, classifier: Any) -> Policy:
    from memeblend.cli.policy import NOT_OF_THIS_MODEL
    from memeblend.policy import Policy

    policy = Policy.read(path, classifier.label_tasks_)
    if not policy.fits(classifier.validation_):
        messages.print(NOT_OF_THIS_MODEL, markup=False, soft_wrap=True)
    return policy


def _record_table(record: dict[str, Any]) -> Table:
    from memeblend.cli.ocr import shown_text

    said = record.get("policy")
    title = record["meme_id"] if said is None else f"{record['meme_id']}: {said['verdict']}"
    title = "\n".join(filter(None, (title, shown_text(record))))
    table = Table(title=escape(title), title_justify="left")
    for name in ("label task", "class", "probabilities", "votes", *(() if said is None else ("policy", "set"))):
        table.add_column(name)
    for name, entry in record["label_tasks"].items():
        probabilities = ", ".join(f"{label} {value:.2f}" for label, value in entry["probabilities"].items())
        votes = ", ".join(f"{member}: {label}" for member, label in entry.get("votes", {}).items())
        under = () if said is None else _under_policy(said, name)
        table.add_row(*map(escape, (name, entry["class"], probabilities, votes or "(derived)", *under)))
    return table


def _under_policy(said: dict[str, Any], name: str) -> tuple[str, str]:
    """A label task's verdict with its calibrated score, and its set of classes; "" where it has none."""
    verdict, found = "", said["categories"].get(name)
    if found is not None:
        interval = "" if found["interval"] is None else " [{:.2f}, {:.2f}]".format(*found["interval"])
        verdict = f"{found['verdict']} {found['calibrated']:.2f}{interval}"
    return verdict, ", ".join(said["sets"].get(name, ()))


def run_report(run: Path, json_output: bool) -> None:
    """`memeblend report`."""
    from memeblend.reporting import summary, write_run_report
    from memeblend.run import Run

    with quiet_libraries():
        found = write_run_report(Run.load(run))
    if json_output:
        print_json(found)
        return
    _show_scores(summary(found))
    results.print(f"report: {run / 'report.html'}", soft_wrap=True)


def run_recipes(name: str, json_output: bool) -> None:
    """`memeblend recipes`."""
    recipes = {preset: load_recipe(preset) for preset in ([name] if name else preset_names())}
    if json_output:
        print_json({preset: recipe.model_dump(mode="json") for preset, recipe in recipes.items()})
    elif name:
        results.print(dump_recipe(recipes[name]), markup=False, soft_wrap=True, end="")
    else:
        table = Table("recipe", "encoder", "label tasks", "candidates")
        for preset, recipe in recipes.items():
            kinds = ", ".join(f"{recipe.copies_of(spec)} {stem(spec)}" for spec in recipe.candidates)
            table.add_row(preset, recipe.first_encoder().source, "joint" if recipe.joint else "one model each", kinds)
        results.print(table)
