"""CREMA-D from GitHub, where each clip is a Git LFS file.

Git's tree contains a checksum for each pointer, and each pointer the SHA-256 of its file, so
everything is verified against one commit.
"""

from __future__ import annotations

import urllib.parse
from dataclasses import dataclass
from pathlib import PurePosixPath

from affectstream.core.checksum import Checksum
from affectstream.core.errors import UserError
from affectstream.core.http_fetch import RemoteFile, fetch_json
from affectstream.preprocessing.download.publisher_metadata import require_field
from affectstream.preprocessing.download.remote_item import DownloadRequest, RemoteItem
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
      actors: numbers that are valid as file name prefixes.
    """

    repository: str
    branch: str
    folders: tuple[tuple[str, str], ...]
    actors: tuple[int, ...]
    manual_download: str
    note: str = ""

    @property
    def streams(self) -> tuple[str, ...]:
        return tuple(stream for stream, _ in self.folders)

    def items(self, request: DownloadRequest) -> list[RemoteItem]:
        """Items to fetch; requests the commit and the folder list from GitHub.

        Raises:
          UserError: not reachable, over GitHub's limit, or an unexpected response.
        """
        folder = dict(self.folders)[request.stream]
        base = f"{API}/{self.repository}"
        url = f"{base}/commits/{self.branch}"
        commit = str(require_field(fetch_json(request.resolve_url(url)), url, "sha"))
        root = self._tree(f"{base}/git/trees/{commit}", request)
        if folder not in root:
            raise UserError(f"{base}: no folder {folder} in it; look at {self.manual_download}")
        entries = self._tree(f"{base}/git/trees/{root[folder]}", request)
        return [
            self._item(f"{folder}/{name}", blob, commit, request)
            for name, blob in sorted(entries.items())
            if PurePosixPath(name).suffix.lower() in MEDIA_SUFFIXES
            and (not request.actors or _leading_number(name) in request.actors)
        ]

    def _tree(self, url: str, request: DownloadRequest) -> dict[str, str]:
        """Name -> git id of the entries of a folder."""
        answer = fetch_json(request.resolve_url(url))
        if answer.get("truncated") if isinstance(answer, dict) else False:
            raise UserError(
                f"{url}: GitHub cut the list short; fetch by hand: {self.manual_download}"
            )
        entries = require_field(answer, url, "tree", list)
        return {
            str(require_field(e, url, "path")): str(require_field(e, url, "sha")) for e in entries
        }

    def _item(self, path: str, blob: str, commit: str, request: DownloadRequest) -> RemoteItem:
        where = f"{self.repository}/{commit}/{urllib.parse.quote(safe_path(path))}"
        return RemoteItem(
            RemoteFile(request.resolve_url(f"{MEDIA}/{where}")),
            path,
            pointer_url=request.resolve_url(f"{RAW}/{where}"),
            pointer=Checksum("git-blob", blob, f"the git tree of commit {commit}"),
        )


def _leading_number(name: str) -> int:
    digits = name.split("_")[0]
    return int(digits) if digits.isdecimal() else -1
