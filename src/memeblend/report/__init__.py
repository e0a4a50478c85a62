"""Reports: report.json, report.md and a self-contained report.html, from results alone."""

from memeblend.report.building import build_report
from memeblend.report.given import ReportInput
from memeblend.report.writing import write_report, wrong_meme_ids

__all__ = ["ReportInput", "build_report", "write_report", "wrong_meme_ids"]
