"""The doctor: what is in a data set, what is wrong with it, and whether it can be trained on."""

from memeblend.data.doctor.examining import diagnose, examine
from memeblend.data.doctor.findings import Diagnosis
from memeblend.data.doctor.rendering import render

__all__ = ["Diagnosis", "diagnose", "examine", "render"]
