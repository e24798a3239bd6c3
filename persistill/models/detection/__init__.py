"""Networks that find objects: torchvision's detectors, and their heads on the encoders of other networks."""
