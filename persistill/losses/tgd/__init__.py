"""TGD: a teacher of pictures and a teacher of their persistence images."""
