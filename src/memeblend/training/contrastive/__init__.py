"""Contrastive pre-training of encoders on pairs of image and text."""
