"""The results that every test of the report starts from."""

from __future__ import annotations

import pytest
from report_results import results

from memeblend.report import ReportInput


@pytest.fixture(scope="session")
def given() -> ReportInput:
    return ReportInput(**results())
