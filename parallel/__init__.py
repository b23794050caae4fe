"""Engines for independent tasks: in this process, in other processes, on a Ray cluster."""
