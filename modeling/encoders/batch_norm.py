"""Momentum of batch normalisation."""

from __future__ import annotations

# A corpus of a thousand clips gives some thirty steps an epoch; at Keras's 0.99 the statistics that
# validation sees would lag behind the weights by several epochs. The published ResNets have 0.9.
MOMENTUM = 0.9
