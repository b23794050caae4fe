"""RAVDESS from Zenodo, whose record states size and MD5 of each archive."""

from __future__ import annotations

import urllib.parse
from dataclasses import dataclass
from typing import Any

from affectstream.core.errors import UserError
from affectstream.preprocessing.download.http_transfer import read_json
from affectstream.preprocessing.download.publisher_metadata import field, parse_checksum
from affectstream.preprocessing.download.remote_item import DownloadRequest, Item, Piece, RemoteFile

RECORD = "https://zenodo.org/api/records/1188976"
# Actor 18 has no song.
_ACTORS = {"Speech": tuple(range(1, 25)), "Song": tuple(a for a in range(1, 25) if a != 18)}
_CHANNELS = {"Speech": "01", "Song": "02"}


@dataclass(frozen=True)
class ZenodoRavdess:
    """RAVDESS, record 1188976: sound as one archive a channel, video as one an actor.

    Attributes:
      channels: "Speech", "Song" or both.
    """

    channels: tuple[str, ...]
    actors: tuple[int, ...] = tuple(range(1, 25))
    streams: tuple[str, ...] = ("audio", "video")
    by_hand: str = "https://zenodo.org/records/1188976"
    note: str = ""

    def items(self, wish: DownloadRequest) -> list[Item]:
        """What to fetch; asks Zenodo for the list.

        Raises:
          UserError: not reachable, or the record has another form.
        """
        record = read_json(wish.at(RECORD))
        files = {field(entry, RECORD, "key"): entry for entry in field(record, RECORD, "files")}
        wanted = wish.actors or self.actors
        found = []
        for channel in self.channels:
            actors = [actor for actor in _ACTORS[channel] if actor in wanted]
            if wish.stream == "video":
                names = {f"Video_{channel}_Actor_{actor:02d}": None for actor in actors}
                found += [self._item(files, name, (Piece(name),), wish) for name in names]
            elif actors:
                name = f"Audio_{channel}_Actors_01-24"
                pieces = tuple(_sound_of(name, _CHANNELS[channel], actor) for actor in actors)
                found.append(self._item(files, name, pieces, wish))
        return found

    def _item(
        self, files: dict[str, Any], name: str, pieces: tuple[Piece, ...], wish: DownloadRequest
    ) -> Item:
        key = f"{name}.zip"
        if key not in files:
            raise UserError(f"{RECORD}: the record has no {key}; look at {self.by_hand}")
        entry = files[key]
        remote = RemoteFile(
            url=wish.at(f"{RECORD}/files/{urllib.parse.quote(key)}/content"),
            num_bytes=field(entry, RECORD, "size", int),
            checksum=parse_checksum(field(entry, RECORD, "checksum"), RECORD),
        )
        return Item(remote, key, pieces)


def _sound_of(archive: str, channel: str, actor: int) -> Piece:
    name = rf"03-{channel}-\d\d-\d\d-\d\d-\d\d-{actor:02d}\.wav"
    return Piece(f"{archive}/Actor_{actor:02d}", rf"(?:.*/)?(?P<name>{name})")
