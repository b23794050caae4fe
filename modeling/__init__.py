"""Features in the graph, encoders, fusions, training and evaluation."""

import quiet

quiet.import_tensorflow()
