"""Quality of segmentation, all of it from counts of pixels: which class a pixel has, and which one it was given.

Counts of images add up, so that a figure over many images, or over a resampled choice of them, is the figure of the sum
of their counts.
"""

import torch
from torch import Tensor

from persistill.errors import UserError
from persistill.structures import IGNORE_INDEX


def confusion_counts(prediction: Tensor, target: Tensor, num_classes: int) -> Tensor:
    """Count the pixels of each image by predicted and true class.

    Args:
        prediction: (B, *) integers, classes from 0 to K - 1: the ``argmax(1)`` of logits (B, K, *).
        target: (B, *) integers, the true classes; pixels of ``IGNORE_INDEX`` (-100) are left out.
        num_classes: K.

    Returns:
        (B, K, K) int64, on the device of ``prediction``: at [b, i, j] how many pixels of image b have class i and were
        given class j.

    Raises:
        UserError: if the shapes differ, or if a number is no class.
    """
    if prediction.shape != target.shape or prediction.ndim < 2:
        raise UserError(
            "prediction and target must have one shape, (B, *), with a class for every pixel; "
            f"{tuple(prediction.shape)} and {tuple(target.shape)} were given."
        )
    counted = target != IGNORE_INDEX
    for name, values in (("prediction", prediction[counted]), ("target", target[counted])):
        if values.is_floating_point() or values.dtype == torch.bool:
            raise UserError(f"{name} must hold class numbers, as integers; its type is {values.dtype}.")
        wrong = values[(values < 0) | (values >= num_classes)]
        if len(wrong):
            raise UserError(
                f"{name} must hold classes from 0 to {num_classes - 1}"
                f"{f', or {IGNORE_INDEX} to be ignored' if name == 'target' else ''}; it holds {int(wrong[0])}."
            )
    image = torch.arange(len(target), device=target.device).view(-1, *[1] * (target.ndim - 1)).expand_as(target)
    cell = (image * num_classes + target)[counted] * num_classes + prediction[counted]
    counts = torch.bincount(cell, minlength=len(target) * num_classes**2)
    return counts.view(len(target), num_classes, num_classes)


def class_iou(counts: Tensor) -> Tensor:
    """Intersection over union of each class: of the pixels that have the class or were given it, the share with both.

    (Everingham et al. 2010, "The PASCAL Visual Object Classes (VOC) Challenge", section 4.1.5.)

    Args:
        counts: (*, K, K) from ``confusion_counts``, of one image or summed over several.

    Returns:
        (*, K) float64 in [0, 1]; NaN for classes that no pixel has and none was given.

    Raises:
        UserError: if ``counts`` is not square.
    """
    _check(counts)
    counts = counts.double()
    both = counts.diagonal(dim1=-2, dim2=-1)
    return both / (counts.sum(-1) + counts.sum(-2) - both)


def mean_iou(counts: Tensor) -> Tensor:
    """Mean intersection over union (mIoU) of the classes that occur.

    Classes that no pixel has and none was given have no IoU and are left out of the mean. Where a class is given to
    pixels that do not have it, its IoU of 0 counts.

    Args:
        counts: (*, K, K) from ``confusion_counts``, of one image or summed over several: the usual figure is that of
            the sum over all images, not the mean of the images' own.

    Returns:
        (*) float64 in [0, 1]; NaN where nothing was counted.

    Raises:
        UserError: if ``counts`` is not square.
    """
    return class_iou(counts).nanmean(-1)


def pixel_accuracy(counts: Tensor) -> Tensor:
    """Share of pixels that were given their own class.

    Args:
        counts: (*, K, K) from ``confusion_counts``, of one image or summed over several.

    Returns:
        (*) float64 in [0, 1]; NaN where nothing was counted.

    Raises:
        UserError: if ``counts`` is not square.
    """
    _check(counts)
    counts = counts.double()
    return counts.diagonal(dim1=-2, dim2=-1).sum(-1) / counts.sum((-2, -1))


def _check(counts: Tensor) -> None:
    if counts.ndim < 2 or counts.shape[-1] != counts.shape[-2]:
        raise UserError(f"counts must be (*, K, K), of true and given classes; {tuple(counts.shape)} was given.")
