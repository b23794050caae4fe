"""From a trained run to answers: export, and `load(path)(file)`."""

from serving.loading import load
from serving.recognizer import Recognizer

__all__ = ["Recognizer", "load"]
