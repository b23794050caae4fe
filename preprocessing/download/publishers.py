"""Where each corpus comes from: a free download, or a request to its authors."""

from __future__ import annotations

from typing import Protocol

from affectstream.preprocessing.download.dataverse import DataverseDataset
from affectstream.preprocessing.download.git_lfs import GitLfsFolders
from affectstream.preprocessing.download.plain_url import PlainArchive
from affectstream.preprocessing.download.remote_item import DownloadRequest, RemoteItem
from affectstream.preprocessing.download.zenodo import ZenodoRavdess


class CorpusPublisher(Protocol):
    """A publisher that lets anybody fetch.

    Attributes:
      actors: numbers that may be chosen from, () where there is no choice.
      streams: "audio", "video".
      manual_download: where a person finds the files.
      note: what is to be said of the checking, or "".
    """

    @property
    def actors(self) -> tuple[int, ...]: ...
    @property
    def streams(self) -> tuple[str, ...]: ...
    @property
    def manual_download(self) -> str: ...
    @property
    def note(self) -> str: ...
    def items(self, request: DownloadRequest) -> list[RemoteItem]: ...


DOWNLOADABLE: dict[str, CorpusPublisher] = {
    "ravdess": ZenodoRavdess(("Speech",)),
    "ravdess_song": ZenodoRavdess(("Speech", "Song")),
    "tess": DataverseDataset("doi:10.5683/SP2/E8H2MF"),
    "emodb": PlainArchive(
        "http://emodb.bilderbar.info/download/download.zip",
        "emodb",
        "http://emodb.bilderbar.info/download/",
    ),
    "crema_d": GitLfsFolders(
        "CheyneyComputerScience/CREMA-D",
        "master",
        (("audio", "AudioWAV"), ("video", "VideoFlash")),
        tuple(range(1001, 1092)),
        "git clone https://gitlab.com/cs-cooper-lab/crema-d-mirror.git (with git-lfs)",
    ),
}

MANUAL_ONLY: dict[str, str] = {
    "iemocap": "under a signed licence; ask at https://sail.usc.edu/iemocap/iemocap_release.htm",
    "meld": "clips of a television series; get MELD.Raw and the tables as "
    "https://github.com/declare-lab/MELD says",
    "savee": "on registration; ask at http://kahlan.eps.surrey.ac.uk/savee/Download.html",
    "fer2013": "with a Kaggle account, after its rules are accepted: https://www.kaggle.com/c/"
    "challenges-in-representation-learning-facial-expression-recognition-challenge/data",
    "sample": "made on this machine: python cli.py synthesize",
}
