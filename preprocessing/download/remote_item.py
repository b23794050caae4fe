"""What a publisher offers: files to fetch, how each is checked, where it goes."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from affectstream.core.checksum import Checksum
from affectstream.core.http_fetch import RemoteFile


@dataclass(frozen=True)
class ExtractedFolder:
    """A folder extracted from an archive, complete or not at all.

    Attributes:
      folder: below the corpus folder, `/` separated.
      pattern: full match of the member names that belong in it; the group `name`, where there is
        one, is the path below `folder`, else it is the whole member name.
    """

    folder: str
    pattern: str = "(?P<name>.+)"


@dataclass(frozen=True)
class RemoteItem:
    """One thing to fetch.

    Attributes:
      remote: the file.
      path: where it is kept below the corpus folder, or a name for an archive.
      extracted_folders: folders to extract from an archive; () for a file kept as it is.
      pointer_url: where the file's Git LFS pointer is, which states its size and SHA-256, or "".
      pointer: checksum of the pointer itself.
    """

    remote: RemoteFile
    path: str
    extracted_folders: tuple[ExtractedFolder, ...] = ()
    pointer_url: str = ""
    pointer: Checksum | None = None

    @property
    def output_paths(self) -> tuple[str, ...]:
        """Paths below the corpus folder that are there once the item is done."""
        return tuple(piece.folder for piece in self.extracted_folders) or (self.path,)


@dataclass(frozen=True)
class DownloadRequest:
    """What of a corpus is wanted.

    Attributes:
      actors: numbers of actors, or () for all.
      stream: "audio" for sound files, "video" for files with picture (and sound).
      mirror: scheme and host that stand in for the publisher's, or "".
    """

    actors: tuple[int, ...] = ()
    stream: str = "audio"
    mirror: str = ""

    def resolve_url(self, url: str) -> str:
        """`url`, at the mirror where one is given; path and query stay."""
        if not self.mirror:
            return url
        parts = urlsplit(url)
        query = f"?{parts.query}" if parts.query else ""
        return f"{self.mirror.rstrip('/')}{parts.path}{query}"
