"""Sources of the corpora: a free download, or a request to the authors."""

from __future__ import annotations

from typing import Protocol

from affectstream.preprocessing.download.dataverse import DataverseDataset
from affectstream.preprocessing.download.git_lfs import GitLfsFolders
from affectstream.preprocessing.download.plain_url import PlainArchive
from affectstream.preprocessing.download.remote_item import DownloadRequest, RemoteItem
from affectstream.preprocessing.download.zenodo import ZenodoRavdess


class CorpusPublisher(Protocol):
    """The publisher of a freely available corpus.

    Attributes:
      actors: numbers to choose from, () without a choice.
      streams: "audio", "video".
      manual_download: page of the files.
      note: remark about the verification, or "".
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
