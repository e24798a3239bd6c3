"""The same mathematics in plain Python and torch, written to be read; the tests hold the kernels to it.

``sublevel_1d``, ``cubical`` and ``vietoris_rips`` find pairs by the definitions. ``persistence_image`` and
``vietoris_rips_h0`` (minimum spanning trees) are torch operations, which also serve tensors on devices without kernels.
"""
