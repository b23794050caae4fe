"""TESS from a Dataverse, whose native API lists the files with their checksums."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from affectstream.core.http_fetch import RemoteFile, fetch_json
from affectstream.preprocessing.download.publisher_metadata import parse_checksum, require_field
from affectstream.preprocessing.download.remote_item import (
    DownloadRequest,
    ExtractedFolder,
    RemoteItem,
)
from affectstream.preprocessing.download.unzip import safe_path
from affectstream.preprocessing.file_kinds import MEDIA_SUFFIXES

HOST = "https://borealisdata.ca"


@dataclass(frozen=True)
class DataverseDataset:
    """The audio files and zips of a dataset; other files (documents) are not fetched.

    Source: Dataverse guides, native API and data access API.
    """

    doi: str
    actors: tuple[int, ...] = ()
    streams: tuple[str, ...] = ("audio",)
    note: str = ""

    @property
    def manual_download(self) -> str:
        return f"https://doi.org/{self.doi.removeprefix('doi:')}"

    def items(self, request: DownloadRequest) -> list[RemoteItem]:
        """Items to fetch; requests the list from the Dataverse.

        Raises:
          UserError: not reachable, or an unexpected response.
        """
        url = f"{HOST}/api/datasets/:persistentId/?persistentId={self.doi}"
        data = require_field(fetch_json(request.resolve_url(url)), url, "data")
        files = require_field(require_field(data, url, "latestVersion"), url, "files", list)
        items = [self._item(entry, url, request) for entry in files]
        return [item for item in items if item is not None]

    def _item(self, entry: Any, url: str, request: DownloadRequest) -> RemoteItem | None:
        file = require_field(entry, url, "dataFile", dict)
        name = safe_path(str(entry.get("label") or require_field(file, url, "filename")))
        if folder := entry.get("directoryLabel"):
            name = safe_path(f"{folder}/{name}")
        suffix = PurePosixPath(name).suffix.lower()
        if suffix not in MEDIA_SUFFIXES | {".zip"}:
            return None
        stated = file.get("checksum")
        text = (
            f"{stated.get('type')}:{stated.get('value')}"
            if isinstance(stated, dict)
            else f"md5:{require_field(file, url, 'md5')}"
        )
        remote = RemoteFile(
            url=request.resolve_url(
                f"{HOST}/api/access/datafile/{require_field(file, url, 'id', int)}"
            ),
            num_bytes=require_field(file, url, "filesize", int),
            checksum=parse_checksum(text, url),
        )
        pieces = (
            (ExtractedFolder(name.removesuffix(PurePosixPath(name).suffix)),)
            if suffix == ".zip"
            else ()
        )
        return RemoteItem(remote, name, pieces)
