"""The same mathematics in plain Python and torch, written to be read; the tests hold the kernels to it.

``signals``, ``cubical`` and ``clouds`` find pairs by the definitions. ``images`` (persistence images) and
``spanning_trees`` are torch operations, and also what serves tensors on devices that have no kernels.
"""
