"""RAVDESS from Zenodo, whose record states size and MD5 of each archive."""

from __future__ import annotations

import urllib.parse
from dataclasses import dataclass
from typing import Any

from affectstream.core.errors import UserError
from affectstream.core.http_fetch import RemoteFile, fetch_json
from affectstream.preprocessing.download.publisher_metadata import parse_checksum, require_field
from affectstream.preprocessing.download.remote_item import (
    DownloadRequest,
    ExtractedFolder,
    RemoteItem,
)

RECORD = "https://zenodo.org/api/records/1188976"
# Actor 18 has no song.
_ACTORS = {"Speech": tuple(range(1, 25)), "Song": tuple(a for a in range(1, 25) if a != 18)}
_CHANNELS = {"Speech": "01", "Song": "02"}


@dataclass(frozen=True)
class ZenodoRavdess:
    """RAVDESS, record 1188976: sound as one archive per channel, video as one an actor.

    Attributes:
      channels: "Speech", "Song" or both.
    """

    channels: tuple[str, ...]
    actors: tuple[int, ...] = tuple(range(1, 25))
    streams: tuple[str, ...] = ("audio", "video")
    manual_download: str = "https://zenodo.org/records/1188976"
    note: str = ""

    def items(self, request: DownloadRequest) -> list[RemoteItem]:
        """Items to fetch; requests the list from Zenodo.

        Raises:
          UserError: not reachable, or the record has another form.
        """
        record = fetch_json(request.resolve_url(RECORD))
        files = {
            require_field(entry, RECORD, "key"): entry
            for entry in require_field(record, RECORD, "files")
        }
        wanted = request.actors or self.actors
        found = []
        for channel in self.channels:
            actors = [actor for actor in _ACTORS[channel] if actor in wanted]
            if request.stream == "video":
                names = {f"Video_{channel}_Actor_{actor:02d}": None for actor in actors}
                found += [
                    self._item(files, name, (ExtractedFolder(name),), request) for name in names
                ]
            elif actors:
                name = f"Audio_{channel}_Actors_01-24"
                pieces = tuple(_sound_of(name, _CHANNELS[channel], actor) for actor in actors)
                found.append(self._item(files, name, pieces, request))
        return found

    def _item(
        self,
        files: dict[str, Any],
        name: str,
        pieces: tuple[ExtractedFolder, ...],
        request: DownloadRequest,
    ) -> RemoteItem:
        key = f"{name}.zip"
        if key not in files:
            raise UserError(f"{RECORD}: the record has no {key}; look at {self.manual_download}")
        entry = files[key]
        remote = RemoteFile(
            url=request.resolve_url(f"{RECORD}/files/{urllib.parse.quote(key)}/content"),
            num_bytes=require_field(entry, RECORD, "size", int),
            checksum=parse_checksum(require_field(entry, RECORD, "checksum"), RECORD),
        )
        return RemoteItem(remote, key, pieces)


def _sound_of(archive: str, channel: str, actor: int) -> ExtractedFolder:
    name = rf"03-{channel}-\d\d-\d\d-\d\d-\d\d-{actor:02d}\.wav"
    return ExtractedFolder(f"{archive}/Actor_{actor:02d}", rf"(?:.*/)?(?P<name>{name})")
