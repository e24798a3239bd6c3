"""Quality of detections: average precision of COCO and Pascal VOC, calibration, kinds of errors, intervals."""
