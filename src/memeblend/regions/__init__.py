"""Regions of images for OSCAR: region files, and the engines that make them."""
