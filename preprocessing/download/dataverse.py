"""TESS from a Dataverse, whose native API lists the files with their checksums."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from affectstream.preprocessing.download.http_transfer import read_json
from affectstream.preprocessing.download.publisher_metadata import field, parse_checksum
from affectstream.preprocessing.download.remote_item import DownloadRequest, Item, Piece, RemoteFile
from affectstream.preprocessing.download.unzip import safe_path
from affectstream.preprocessing.file_kinds import MEDIA_SUFFIXES

HOST = "https://borealisdata.ca"


@dataclass(frozen=True)
class DataverseDataset:
    """The sound files and zips of a dataset; other files (documents) are not fetched.

    Source: Dataverse guides, native API and data access API.
    """

    doi: str
    actors: tuple[int, ...] = ()
    streams: tuple[str, ...] = ("audio",)
    note: str = ""

    @property
    def by_hand(self) -> str:
        return f"https://doi.org/{self.doi.removeprefix('doi:')}"

    def items(self, wish: DownloadRequest) -> list[Item]:
        """What to fetch; asks the Dataverse for the list.

        Raises:
          UserError: not reachable, or the answer has another form.
        """
        url = f"{HOST}/api/datasets/:persistentId/?persistentId={self.doi}"
        data = field(read_json(wish.at(url)), url, "data")
        files = field(field(data, url, "latestVersion"), url, "files", list)
        items = [self._item(entry, url, wish) for entry in files]
        return [item for item in items if item is not None]

    def _item(self, entry: Any, url: str, wish: DownloadRequest) -> Item | None:
        file = field(entry, url, "dataFile", dict)
        name = safe_path(str(entry.get("label") or field(file, url, "filename")))
        if folder := entry.get("directoryLabel"):
            name = safe_path(f"{folder}/{name}")
        suffix = PurePosixPath(name).suffix.lower()
        if suffix not in MEDIA_SUFFIXES | {".zip"}:
            return None
        stated = file.get("checksum")
        text = (
            f"{stated.get('type')}:{stated.get('value')}"
            if isinstance(stated, dict)
            else f"md5:{field(file, url, 'md5')}"
        )
        remote = RemoteFile(
            url=wish.at(f"{HOST}/api/access/datafile/{field(file, url, 'id', int)}"),
            num_bytes=field(file, url, "filesize", int),
            checksum=parse_checksum(text, url),
        )
        pieces = (Piece(name.removesuffix(PurePosixPath(name).suffix)),) if suffix == ".zip" else ()
        return Item(remote, name, pieces)
