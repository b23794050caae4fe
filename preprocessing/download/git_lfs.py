"""CREMA-D from GitHub, where each clip is a Git LFS file.

Git's own tree names each pointer by its checksum, and each pointer names its file by SHA-256, so
everything is checked back to one commit.
"""

from __future__ import annotations

import urllib.parse
from dataclasses import dataclass
from pathlib import PurePosixPath

from affectstream.core.errors import UserError
from affectstream.opencv_model.checksum import Checksum
from affectstream.preprocessing.download.http_transfer import read_json
from affectstream.preprocessing.download.publisher_metadata import field
from affectstream.preprocessing.download.remote_item import DownloadRequest, Item, RemoteFile
from affectstream.preprocessing.download.unzip import safe_path
from affectstream.preprocessing.file_kinds import MEDIA_SUFFIXES

API = "https://api.github.com/repos"
RAW = "https://raw.githubusercontent.com"
MEDIA = "https://media.githubusercontent.com/media"


@dataclass(frozen=True)
class GitLfsFolders:
    """The media files of one folder of a repository, for each stream.

    Attributes:
      folders: stream -> folder at the root of the repository.
      actors: numbers that a file name may begin with.
    """

    repository: str
    branch: str
    folders: tuple[tuple[str, str], ...]
    actors: tuple[int, ...]
    by_hand: str
    note: str = ""

    @property
    def streams(self) -> tuple[str, ...]:
        return tuple(stream for stream, _ in self.folders)

    def items(self, wish: DownloadRequest) -> list[Item]:
        """What to fetch; asks GitHub for the commit and the list of the folder.

        Raises:
          UserError: not reachable, over GitHub's limit, or the answer has another form.
        """
        folder = dict(self.folders)[wish.stream]
        base = f"{API}/{self.repository}"
        url = f"{base}/commits/{self.branch}"
        commit = str(field(read_json(wish.at(url)), url, "sha"))
        root = self._tree(f"{base}/git/trees/{commit}", wish)
        if folder not in root:
            raise UserError(f"{base}: no folder {folder} in it; look at {self.by_hand}")
        entries = self._tree(f"{base}/git/trees/{root[folder]}", wish)
        return [
            self._item(f"{folder}/{name}", blob, commit, wish)
            for name, blob in sorted(entries.items())
            if PurePosixPath(name).suffix.lower() in MEDIA_SUFFIXES
            and (not wish.actors or _leading_number(name) in wish.actors)
        ]

    def _tree(self, url: str, wish: DownloadRequest) -> dict[str, str]:
        """Name -> git id of what is in a folder."""
        answer = read_json(wish.at(url))
        if answer.get("truncated") if isinstance(answer, dict) else False:
            raise UserError(f"{url}: GitHub cut the list short; fetch by hand: {self.by_hand}")
        entries = field(answer, url, "tree", list)
        return {str(field(e, url, "path")): str(field(e, url, "sha")) for e in entries}

    def _item(self, path: str, blob: str, commit: str, wish: DownloadRequest) -> Item:
        where = f"{self.repository}/{commit}/{urllib.parse.quote(safe_path(path))}"
        remote = RemoteFile(
            url=wish.at(f"{MEDIA}/{where}"),
            pointer_url=wish.at(f"{RAW}/{where}"),
            pointer=Checksum("git-blob", blob, f"the git tree of commit {commit}"),
        )
        return Item(remote, path)


def _leading_number(name: str) -> int:
    digits = name.split("_")[0]
    return int(digits) if digits.isdecimal() else -1
