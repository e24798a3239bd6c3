"""TGD: a teacher of images and a teacher of their persistence images."""
