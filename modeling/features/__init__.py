"""Features, computed in the graph from what records hold."""
