"""Triton kernels for tensors on a GPU, imported when the first such tensor comes, because Triton need not be there.

``sublevel_1d`` finds the bars of signals, ``persistence_image`` renders them, ``persistence_image_autograd`` carries
gradients from persistence images to images, and ``vietoris_rips_h0`` grows minimum spanning trees, forward and
backward. None of them makes the host wait but ``sublevel_1d.sublevel_persistence`` and
``persistence_image.persistence_images``, which say so.
"""
