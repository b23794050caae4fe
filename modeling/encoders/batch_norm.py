"""Momentum of batch normalisation."""

from __future__ import annotations

# A corpus of a thousand clips gives some thirty steps per epoch. At Keras's 0.99 the statistics
# used in validation would lag behind the weights by several epochs. The published ResNets use 0.9.
MOMENTUM = 0.9
