"""Triton kernels for tensors on a GPU, imported when the first such tensor comes, because Triton need not be there.

``signals`` finds the bars of signals, ``images`` draws them, ``gradients`` carries gradients from images to images,
and ``clouds`` grows minimum spanning trees, forward and backward. None of them makes the host wait but
``signals.sublevel_persistence`` and ``images.images``, which say so.
"""
