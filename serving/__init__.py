"""From a trained run to predictions: export, and `load(path)(file)`."""

from affectstream.serving.inference.predict_options import PredictOptions
from affectstream.serving.inference.recognizer import Recognizer
from affectstream.serving.loading import load

__all__ = ["PredictOptions", "Recognizer", "load"]
