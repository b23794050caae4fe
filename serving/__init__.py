"""From a trained run to answers: export, and `load(path)(file)`."""

from affectstream.serving.inference.recognizer import Recognizer
from affectstream.serving.loading import load

__all__ = ["Recognizer", "load"]
