"""Items of a publisher: files to fetch, their checksums, and their target paths."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from affectstream.core.checksum import Checksum
from affectstream.core.http_fetch import RemoteFile


@dataclass(frozen=True)
class ExtractedFolder:
    """A folder extracted from an archive, atomically.

    Attributes:
      folder: path below the corpus folder, separated by `/`.
      pattern: full match of its member names in the archive; the group `name`, if it exists, is the
        path below `folder`, else the whole member name.
    """

    folder: str
    pattern: str = "(?P<name>.+)"


@dataclass(frozen=True)
class RemoteItem:
    """One item to fetch.

    Attributes:
      remote: the file.
      path: path below the corpus folder, or a name for an archive.
      extracted_folders: folders to extract from an archive; () for a plain file.
      pointer_url: URL of the file's Git LFS pointer, which contains its size and SHA-256, or "".
      pointer: checksum of the pointer itself.
    """

    remote: RemoteFile
    path: str
    extracted_folders: tuple[ExtractedFolder, ...] = ()
    pointer_url: str = ""
    pointer: Checksum | None = None

    @property
    def output_paths(self) -> tuple[str, ...]:
        """Paths below the corpus folder that exist once the item is finished."""
        return tuple(piece.folder for piece in self.extracted_folders) or (self.path,)


@dataclass(frozen=True)
class DownloadRequest:
    """Requested subset of a corpus.

    Attributes:
      actors: numbers of actors, or () for all.
      stream: "audio" for audio files, "video" for files with video (and audio).
      mirror: scheme and host used instead of the publisher's, or "".
    """

    actors: tuple[int, ...] = ()
    stream: str = "audio"
    mirror: str = ""

    def resolve_url(self, url: str) -> str:
        """`url` on the mirror, if one is given; path and query are kept."""
        if not self.mirror:
            return url
        parts = urlsplit(url)
        query = f"?{parts.query}" if parts.query else ""
        return f"{self.mirror.rstrip('/')}{parts.path}{query}"
