"""Image paths: each must name a file inside the data root, unless the user allows more."""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePosixPath

from memeblend.data.rows import RawMemes

IMAGE_FOLDERS = ("images", "img", "image")
"""Folders in which data sets keep images that their tables name without a folder."""


def check_images(raw: RawMemes, *, allow_outside: bool) -> None:
    """Check every image path, note each that can't be used, and put the rest in their plain form.

    Plain is a POSIX path relative to the root, or an absolute one where it leaves the root and that is allowed.
    A set in which no meme names an image is a set without images.

    Args:
        raw: changed in place.
        allow_outside: whether absolute paths, `..` and symbolic links may leave the root.
    """
    if not any(raw.images):
        raw.images = [None] * len(raw)
        return
    checker = _Checker(raw.root, allow_outside)
    checked: dict[str, tuple[str, str]] = {}  # thousands of captions share a template's image
    for row, image in enumerate(raw.images):
        if not image:
            raw.report(row, "names no image, though other rows do")
            continue
        if image not in checked:
            checked[image] = checker.check(image)
        plain, fault = checked[image]
        if fault:
            raw.report(row, fault)
        else:
            raw.images[row] = plain


def image_folder(root: Path, images: list[str | None]) -> str:
    """The folder below `root` that holds images named without one: "" if they are found as they are named."""
    named = [image for image in images if image]
    best, most = "", sum(_is_file(root, image) for image in named)
    for folder in IMAGE_FOLDERS:
        if most < len(named) and (root / folder).is_dir():
            found = sum(_is_file(root / folder, image) for image in named)
            if found > most:
                best, most = folder, found
    return best


def entry(folder: Path, *names: str) -> Path | None:
    """The entry of a folder that goes by one of these names, first name first, whatever the case of its letters."""
    if not folder.is_dir():
        return None
    there = sorted(folder.iterdir(), key=lambda path: path.name, reverse=True)
    spelled = {path.name.casefold(): path for path in there}
    exact = {path.name: path for path in there}
    return next((found for name in names if (found := exact.get(name) or spelled.get(name.casefold()))), None)


def below(folder: str, images: list[str | None]) -> list[str | None]:
    """Image paths with a folder put before those that have a name."""
    if not folder:
        return images
    return [str(PurePosixPath(folder, image)) if image else image for image in images]


def _is_file(folder: Path, image: str) -> bool:
    try:
        return (folder / image).is_file()
    except (OSError, ValueError):
        return False


class _Checker:
    """Checks paths against one root; real paths of folders are looked up once each."""

    def __init__(self, root: Path, allow_outside: bool) -> None:
        self.root = root
        self.real_root = os.path.realpath(root)
        self.allow_outside = allow_outside
        self._real_folders: dict[Path, str] = {}

    def check(self, image: str) -> tuple[str, str]:
        """Plain form of a path, and what is wrong with it ("" if nothing)."""
        path = self.root / image
        if not self.allow_outside:
            if Path(image).is_absolute() or PurePosixPath(image).is_absolute():
                return "", f"image '{image}' is an absolute path; images must lie inside '{self.root}'"
            if ".." in Path(image).parts:
                return "", f"image '{image}' leads upwards with '..'; images must lie inside '{self.root}'"
        try:
            linked = stat.S_ISLNK(path.lstat().st_mode)
            status = path.stat()
        except FileNotFoundError:
            return "", f"image '{image}' does not exist (looked for '{path}')"
        except (OSError, ValueError) as error:
            return "", f"image {image!r} can't be opened: {getattr(error, 'strerror', None) or error}"
        if not stat.S_ISREG(status.st_mode):
            return "", f"image '{image}' is not a file"
        if status.st_size == 0:
            return "", f"image '{image}' is an empty file"
        real = os.path.realpath(path) if linked else str(Path(self._real_folder(path.parent), path.name))
        inside = Path(real).is_relative_to(self.real_root)
        if not inside and not self.allow_outside:
            return "", f"image '{image}' is reached by a symbolic link that leaves '{self.root}'"
        if inside and ".." not in Path(image).parts and not Path(image).is_absolute():
            return Path(image).as_posix(), ""
        return (Path(real).relative_to(self.real_root).as_posix() if inside else real), ""

    def _real_folder(self, folder: Path) -> str:
        if folder not in self._real_folders:
            self._real_folders[folder] = os.path.realpath(folder)
        return self._real_folders[folder]
