"""Images with boxes: sources in four formats, checked boxes, splits, data sets and augmentation."""
