"""Multipart bodies in memory: their parts, as they are.

A body has arrived as a whole before it is read, so nothing is written to disk, and one that ends in the middle of a
part is told from one that is complete.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from memeblend.serving.refusals import Refusal


@dataclass
class Part:
    """A part of a form.

    Attributes:
        name: the field's name, "" where none is given.
        is_file: whether it has a file name.
        data: its content.
    """

    name: str = ""
    is_file: bool = False
    data: bytearray = field(default_factory=bytearray)


def read_parts(content_type: str, body: bytes, max_parts: int) -> list[Part]:
    """The parts of a multipart body, in order.

    Args:
        content_type: the header's value, which names the boundary between the parts.
        body: the whole body.
        max_parts: most parts that are allowed.

    Raises:
        Refusal: it is not multipart, ends in the middle, or has too many parts (400).
    """
    boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
    if not boundary:
        raise _refusal("The content type names no boundary between the parts.")
    reading = _Reading(max_parts)
    try:
        MultipartParser(
            boundary,
            {
                "on_part_begin": reading.begin,
                "on_header_begin": reading.begin_header,
                "on_header_field": reading.header_name,
                "on_header_value": reading.header_value,
                "on_header_end": reading.end_header,
                "on_part_data": reading.data,
                "on_end": reading.end,
            },
        ).write(body)
    except FormParserError as error:
        raise _refusal("The body is not multipart, or not with the boundary that the content type names.") from error
    if not reading.whole:
        raise _refusal("The body ends before its last boundary.")
    return reading.parts


class _Reading:
    """Collects what the parser comes by."""

    def __init__(self, max_parts: int) -> None:
        self.max_parts = max_parts
        self.parts: list[Part] = []
        self.whole = False
        self._header, self._value = b"", b""

    def begin(self) -> None:
        if len(self.parts) == self.max_parts:
            raise _refusal(f"The form has more than the {self.max_parts} parts that are allowed.")
        self.parts.append(Part())

    def begin_header(self) -> None:
        self._header, self._value = b"", b""

    def header_name(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            options = parse_options_header(self._value)[1]
            self.parts[-1].name = options.get(b"name", b"").decode("utf-8", "replace")
            self.parts[-1].is_file = b"filename" in options

    def data(self, data: bytes, start: int, end: int) -> None:
        self.parts[-1].data += data[start:end]

    def end(self) -> None:
        self.whole = True


def _refusal(message: str) -> Refusal:
    return Refusal(400, "bad_multipart", message)
