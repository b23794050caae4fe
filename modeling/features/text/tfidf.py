"""TF-IDF of words and bigrams, in the graph."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from affectstream.core.errors import UserError, pluralize
from affectstream.modeling.features.front_end import Features
from affectstream.modeling.input_spec import InputSpec
from affectstream.modeling.layer_names import TERMS
from affectstream.modeling.layer_names import TFIDF as TFIDF_LAYER


@keras.saving.register_keras_serializable(package="affectstream")
def standardise_terms(text: tf.Tensor) -> tf.Tensor:
    """Lower case; letters, digits and _ are kept, as scikit-learn's TfidfVectorizer does."""
    text = tf.strings.lower(text, encoding="utf-8")
    return tf.strings.regex_replace(text, r"[^\pL\pN_]+", " ")


@keras.saving.register_keras_serializable(package="affectstream")
def split_terms(text: tf.Tensor) -> tf.RaggedTensor:
    """Words of two letters or more."""
    words = tf.strings.split(text)
    return tf.ragged.boolean_mask(words, tf.strings.length(words, unit="UTF8_CHAR") > 1)


@keras.saving.register_keras_serializable(package="affectstream")
class TfidfWeights(keras.layers.Layer):
    """Counts of terms -> sublinear TF-IDF, each row of length 1 (or 0 without a known term).

    Args:
      idf: inverse document frequency of each term, ln((1 + n) / (1 + df)) + 1.
    Call:
      counts: (batch, 1 + terms) float, unknown terms first.
    Returns:
      (batch, terms) float32.
    Source: Salton & Buckley 1988; equal to scikit-learn's TfidfVectorizer(sublinear_tf=True).
    """

    def __init__(self, idf: Sequence[float], **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.idf = [float(value) for value in idf]

    def call(self, counts: Any) -> Any:
        counts = ops.cast(counts, "float32")[:, 1:]
        sublinear = ops.where(counts > 0, 1.0 + ops.log(ops.maximum(counts, 1.0)), 0.0)
        weighted = sublinear * ops.convert_to_tensor(self.idf, "float32")
        length = ops.sqrt(ops.sum(weighted * weighted, axis=1, keepdims=True))
        return weighted / ops.maximum(length, 1e-12)

    def compute_output_shape(self, counts_shape: Any) -> Any:
        return (counts_shape[0], len(self.idf))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "idf": self.idf}


@dataclass(frozen=True)
class Tfidf:
    """Front end: text -> one vector; terms and weights are fitted on the training split only.

    Attributes:
      max_ngram: 1 for words, 2 for words and bigrams.
      min_df: a term must occur in at least this many training texts.
      max_terms: the most frequent are kept; 0 keeps all.
      terms: sorted; empty before `fitted`.
      idf: inverse document frequency of each term.
    """

    max_ngram: int = 2
    min_df: int = 5
    max_terms: int = 0
    terms: tuple[str, ...] = ()
    idf: tuple[float, ...] = ()
    stream: str = "text"
    standardise_axis: int | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Column names of a table; the prefix keeps a term from equalling another column's name."""
        return tuple(f"tfidf {term}" for term in self.terms)

    def fitted(self, texts: Sequence[str], pretrained: str) -> Tfidf:
        """Returns the front end with terms and weights fitted by scikit-learn.

        Raises:
          UserError: no term occurs in `min_df` texts.
        """
        from sklearn.feature_extraction.text import TfidfVectorizer

        vectorizer = TfidfVectorizer(
            ngram_range=(1, self.max_ngram),
            min_df=self.min_df,
            max_features=self.max_terms or None,
            sublinear_tf=True,
        )
        try:
            vectorizer.fit(texts)
        except ValueError as error:
            raise UserError(
                f"no term stands in {self.min_df} of {pluralize(len(texts), 'training text')};"
                " lower"
                " it (--set min_df=1) or add texts"
            ) from error
        terms = tuple(vectorizer.get_feature_names_out().tolist())
        return dataclasses.replace(self, terms=terms, idf=tuple(vectorizer.idf_.tolist()))

    def as_fields(self) -> dict[str, Any]:
        """The settings stored beside a table; `with_fields` reads them."""
        return {"max_ngram": self.max_ngram, "terms": self.terms, "idf": self.idf}

    def with_fields(self, fields: dict[str, Any]) -> Tfidf:
        """Restores the front end from `as_fields`."""
        return dataclasses.replace(
            self,
            max_ngram=fields["max_ngram"],
            terms=tuple(fields["terms"]),
            idf=tuple(fields["idf"]),
        )

    def from_model(self, model: keras.Model) -> Tfidf:
        terms = model.get_layer(TERMS).get_vocabulary()[1:]  # without the entry for unknown terms
        idf = model.get_layer(TFIDF_LAYER).idf
        return dataclasses.replace(self, terms=tuple(terms), idf=tuple(idf))

    def connect(self, inputs: dict[str, Any], spec: InputSpec) -> Features:
        """(batch, terms) float32."""
        count = keras.layers.TextVectorization(
            standardize=standardise_terms,
            split=split_terms,
            ngrams=tuple(range(1, self.max_ngram + 1)),
            output_mode="count",
            vocabulary=list(self.terms),
            name=TERMS,
        )
        return Features(TfidfWeights(self.idf, name="tfidf")(count(inputs["text"])))


TFIDF = Tfidf()
