"""An archive at a plain URL, without size or checksum from the publisher."""

from __future__ import annotations

from dataclasses import dataclass

from affectstream.core.http_fetch import RemoteFile
from affectstream.preprocessing.download.remote_item import (
    DownloadRequest,
    ExtractedFolder,
    RemoteItem,
)


@dataclass(frozen=True)
class PlainArchive:
    """One zip; only the CRCs inside it detect a damaged copy."""

    url: str
    folder: str
    manual_download: str
    note: str = "the publisher states no checksum; the CRCs inside the zip were checked"
    actors: tuple[int, ...] = ()
    streams: tuple[str, ...] = ("audio",)

    def items(self, request: DownloadRequest) -> list[RemoteItem]:
        """The one archive; sends no request."""
        name = self.url.rsplit("/", 1)[1]
        return [
            RemoteItem(
                RemoteFile(request.resolve_url(self.url)), name, (ExtractedFolder(self.folder),)
            )
        ]
