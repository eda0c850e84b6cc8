"""Picture sources: lists of pictures with a cheap header, whose pixels are decoded on demand."""

from abc import abstractmethod
from typing import BinaryIO

from torch import Tensor

from selfsight.data.pictures.files.decode import Header, decoded, header_of, reasons
from selfsight.data.pictures.scaling import Fit, fitted
from selfsight.data.source import MOST_CONTENT, Parts, Source, Unreadable, View


class PictureSource(Source):
    """Pictures listed, not yet decoded."""

    @abstractmethod
    def header(self, i: int) -> Header:
        """Read the size and channels of picture i without decoding it.

        Raises:
            Unreadable: If it is not a picture, or is too small or too large to be used.
        """

    @abstractmethod
    def decode(self, i: int) -> Tensor:
        """Decode picture i, upright: -> (C, H, W) uint8 or uint16.

        Raises:
            Unreadable: If it cannot be decoded.
        """

    def scaled(self, i: int, side: int, fit: Fit) -> Tensor:
        """Decode picture i and scale it for storage, as `fitted` does.

        Raises:
            Unreadable: If it cannot be decoded.
        """
        return fitted(self.decode(i), side, fit)

    def content(self, i: int) -> bytes:
        """Give its pixels as bytes; b"" if it cannot be decoded."""
        try:
            return self.decode(i).numpy().tobytes()
        except Unreadable:
            return b""

    def subset(self, rows: Tensor) -> "PictureSource":
        """Keep the pictures of `rows` (M,) int64, in that order."""
        labels = None if self.labels is None else self.labels[rows]
        return self.viewed(rows, self.classes, labels)

    def viewed(
        self, rows: Tensor, classes: tuple[str, ...], labels: Tensor | None
    ) -> "PictureSource":
        """Select some of the pictures, perhaps with other class numbers, or none."""
        return PictureView(self, rows, classes, labels, unlabelled=self.unlabelled)


class EncodedSource(PictureSource):
    """Pictures encoded as JPEG, PNG or a similar format."""

    @abstractmethod
    def opened(self, i: int) -> BinaryIO:
        """Open the bytes of picture i for reading.

        Raises:
            Unreadable: If there are no bytes.
            OSError: If the file cannot be opened.
        """

    def header(self, i: int) -> Header:
        """Read its size and channels."""
        with reasons(), self.opened(i) as file:
            return header_of(file)

    def content(self, i: int) -> bytes:
        """Give its size in bytes and its first bytes."""
        try:
            with reasons(), self.opened(i) as file:
                size = file.seek(0, 2)
                file.seek(0)
                return b"%d " % size + file.read(MOST_CONTENT)
        except Unreadable:
            return b""

    def decode(self, i: int) -> Tensor:
        """Decode it: -> (C, H, W) uint8 or uint16."""
        with reasons(), self.opened(i) as file:
            return decoded(file)


class PictureView(View, PictureSource):
    """A selection of another source's pictures, perhaps with other class numbers, or none."""

    base: PictureSource

    def header(self, i: int) -> Header:
        """Read its size and channels."""
        return self.base.header(self.index[i])

    def decode(self, i: int) -> Tensor:
        """Decode it: -> (C, H, W) uint8 or uint16."""
        return self.base.decode(self.index[i])

    def scaled(self, i: int, side: int, fit: Fit) -> Tensor:
        """Decode and scale picture i."""
        return self.base.scaled(self.index[i], side, fit)

    def content(self, i: int) -> bytes:
        """Give bytes that identify the content of picture i."""
        return self.base.content(self.index[i])


PictureParts = Parts[PictureSource]
