"""Small tools that know nothing of networks: files, progress, sums over samples."""
