"""Compiled kernels for the CPU, one idea a file; the folders above hold the public functions that call them.

* H0 of signals: ``sublevel_1d`` (a merge with a stack), ``sublevel_1d_simd`` (64 signals scanned side by side).
* H0 and H1 of images: ``cubical``.
* Point clouds: ``vietoris_rips_h0`` (distances, minimum spanning trees, gradients), ``vietoris_rips_h1``.
* Persistence images: ``persistence_image_uint8`` (8-bit images), ``persistence_image_uint8_tails`` (those of them that
  see nothing but tails), ``persistence_image_float32`` (any numbers), ``persistence_image_exact`` (in float64, to the
  last tail), ``gaussian_density`` (evaluated at points).
* Functions and distances of diagrams: ``landscapes``, ``betti_curves``, ``wasserstein``.
* ``finite`` looks for NaN, ``llvm_vectors`` holds vector operations that compiled Python has no words for, and ``jit``
  is the decorator of all kernels.

Kernels import nothing of ours but one another, so that ``jit`` can see which are compiled into which.
"""
