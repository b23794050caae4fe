"""The tables behind the registry: every component by kind and name, as text."""
