"""SEKD: the graph of the channels and its spectral embedding."""
