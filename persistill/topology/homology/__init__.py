"""Persistence diagrams of signals, images and point clouds."""
