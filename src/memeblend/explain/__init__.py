"""Reasons for decisions: attributions to words and patches, modalities, votes, precedents; see `explaining.explain`."""
