"""Red team: memes perturbed in many ways, what that does to a model's decisions, and whether a budget allows it.

>>> from memeblend.redteam import Settings, red_team  # doctest: +SKIP
>>> report = red_team(model, manifest, Settings(only=("leetspeak", "jpeg")))  # doctest: +SKIP
>>> report.passed, report.write("redteam")  # doctest: +SKIP
"""

from memeblend.redteam.attacking import choose_memes, red_team
from memeblend.redteam.grid import Settings
from memeblend.redteam.report import RedTeamReport

__all__ = ["RedTeamReport", "Settings", "choose_memes", "red_team"]
