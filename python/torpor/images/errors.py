# SPDX-License-Identifier: MIT
"""The one error of this package."""

from __future__ import annotations


class ImageError(Exception):
    """An image that is not what it should be.

    `name` is the file, `offset` the byte in it where it went wrong (None: the file as a whole),
    `text` what is wrong, as a clause: "the size of a message is cut off". `rule` is the id of the
    validator's rule that this breaks.
    """

    def __init__(
        self, name: str, text: str, offset: int | None = None, rule: str = "image-framing"
    ) -> None:
        where = "" if offset is None else f" at byte {offset}"
        super().__init__(f"image '{name}': {text}{where}")
        self.name = name
        self.text = text
        self.offset = offset
        self.rule = rule
