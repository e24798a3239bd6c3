"""Compiled kernels for the CPU, one idea a file; what calls them lies a folder higher, under the public names.

Signals: ``signals`` (the merge with a stack), ``lanes`` (64 scans side by side). Persistence images: ``images`` (in
float64, to the last tail), ``levels`` (8-bit images), ``tails`` (those of them that see nothing but tails),
``floats`` (any numbers), ``points`` (evaluated at points). ``cubical``: H0 and H1 of images. Clouds: ``clouds``
(distances, trees), ``rips`` (H1). Diagrams: ``tents`` (landscapes), ``curves`` (Betti curves), ``matching``
(distances). ``vectors`` holds the operations that compiled Python has no words for. Kernels import nothing of ours
but one another, so that those that are stale can be told (``_compiling``).
"""
