"""Persistence images, from diagrams and straight from images."""
