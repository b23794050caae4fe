"""From a trained run to answers: export, and `load(path)(file)`."""

from serving.recognizer import Recognizer, load

__all__ = ["Recognizer", "load"]
