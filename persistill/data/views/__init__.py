"""What a teacher may see instead of the image."""
