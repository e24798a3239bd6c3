"""The small networks of the literature on CIFAR."""
