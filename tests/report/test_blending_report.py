"""What candidates found of their branches, from the logs into report.json and the page."""

import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from typing import Any

from report_results import HOSTILE

from memeblend.report import ReportInput, build_report, pictures, write_report
from memeblend.report.blending import blending_traces

ESTIMATE = {
    f"{quantity}/{branch}": value
    for value, branch in enumerate(("text", "image", "fused"), start=1)
    for quantity in ("blend_weight", "generalization", "overfitting", "ogr")
}
LOG = [
    {"epoch": 0, **ESTIMATE},
    {"epoch": 1.0, "loss": 0.5},
    {"epoch": 1.0, "eval_weighted_f1": 0.4, "eval_a/b_weighted_f1": 0.4},
    {"epoch": 2.0, **{key: 2 * value for key, value in ESTIMATE.items() if "ogr" not in key}},
]


def test_traces_by_hand() -> None:
    found = blending_traces({"fusion_online-0": LOG, "text-0": [{"epoch": 1.0, "loss": 1.0}], "none-0": []})
    assert set(found) == {"fusion_online-0"}
    traces = found["fusion_online-0"]
    assert list(traces) == ["blend_weight", "generalization", "overfitting", "ogr"]
    assert traces["blend_weight"] == {"text": [(0, 1), (2, 2)], "image": [(0, 2), (2, 4)], "fused": [(0, 3), (2, 6)]}
    assert traces["ogr"]["text"] == [(0, 1)]


def test_a_label_tasks_name_may_hold_anything() -> None:
    found = blending_traces({"a": [{"epoch": 0, f"blend_weight/text/{HOSTILE}": 0.5, "epoch/text": 1.0}]})
    assert found == {"a": {"blend_weight": {f"text/{HOSTILE}": [(0.0, 0.5)]}}}
    ElementTree.fromstring(pictures.blending(found["a"]))


def test_the_page_shows_them(given: ReportInput, tmp_path: Any) -> None:
    modulation = [{"epoch": 1.0, "loss": 1.0, "modulation/text": 0.7, "modulation/image": 1.0}]
    curves = {"fusion_online-0": LOG, "fusion_ogm_ge-0": modulation}
    report = build_report(replace(given, curves=curves))
    assert set(report["blending"]) == set(curves)
    write_report(report, {}, tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "Blend weights of fusion_online-0" in page
    assert "the encoders of fusion_ogm_ge-0 were scaled down" in page
    svg = pictures.blending(report["blending"]["fusion_online-0"])
    assert "OGR, |O / G|" in svg
    assert svg == pictures.blending(report["blending"]["fusion_online-0"])
