"""An archive at a plain URL, for which the publisher gives neither size nor checksum."""

from __future__ import annotations

from dataclasses import dataclass

from affectstream.preprocessing.download.remote_item import DownloadRequest, Item, Piece, RemoteFile


@dataclass(frozen=True)
class PlainArchive:
    """One zip; only the CRCs inside it tell a damaged copy."""

    url: str
    folder: str
    by_hand: str
    note: str = "the publisher states no checksum; the CRCs inside the zip were checked"
    actors: tuple[int, ...] = ()
    streams: tuple[str, ...] = ("audio",)

    def items(self, wish: DownloadRequest) -> list[Item]:
        """The one archive; asks nobody."""
        name = self.url.rsplit("/", 1)[1]
        return [Item(RemoteFile(wish.at(self.url)), name, (Piece(self.folder),))]
