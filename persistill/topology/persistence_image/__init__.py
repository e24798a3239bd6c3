"""Persistence images: settings, fitting them, and computing them from diagrams or straight from images."""
