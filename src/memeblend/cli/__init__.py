"""The command `memeblend`. Importing it is cheap: torch and transformers load only in commands that need them."""

from memeblend.cli.app import main

__all__ = ["main"]
