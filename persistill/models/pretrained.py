"""The weights that timm and torchvision publish for their networks: which there are, and fetching them."""

import contextlib
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from persistill.errors import UserError, first_line, unknown
from persistill.models.base import Network
from persistill.models.detection.torchvision_detectors import is_torchvision_detector, native_format
from persistill.models.feature_extraction.feature_layout import Size
from persistill.models.registry import split_decoder

# timm, torchvision and the hub's client are imported where they are used: they take seconds.

_SECONDS = 5
"""In which the hub has to answer, before a file of hundreds of megabytes is asked for."""
_TRANSFORMS = {"googlenet", "inception_v3"}
"""Networks of torchvision whose published weights expect images that they bring to mean and deviation 0.5 inside,
which ours do not: they are normalized so from the beginning."""

PRETRAINED = "pretrained"
"""In place of a file: the weights that timm or torchvision publish for the network."""

Numbers = tuple[float, ...]


class PretrainedWeights(NamedTuple):
    """Weights that a library publishes.

    Attributes:
        name: exactly which, "timm/resnet50.a1_in1k" or "torchvision/ResNet50_Weights.IMAGENET1K_V2".
        place: where they are downloaded from.
        classes: number of classes; 0 without a classifier.
        channels: of the images that they were trained on.
        size: height and width of these.
        mean: channel means by which these were normalized.
        std: channel standard deviations.
    """

    name: str
    place: str
    classes: int
    channels: int
    size: Size
    mean: Numbers
    std: Numbers


def find_pretrained(model: str) -> PretrainedWeights:
    """What a library publishes for a network, its default where there are several. Nothing is downloaded.

    Args:
        model: "timm/NAME", with a tag for others than the default ("timm/resnet50.a1_in1k"), or "torchvision/NAME"; of
            "lraspp:timm/NAME" and "fcos:timm/NAME" the weights of the encoder.

    Raises:
        UserError: if nobody publishes weights of such a network.
    """
    library, _, name = split_decoder(model)[1].partition("/")
    if library == "timm":
        return _of_timm(name)
    if library == "torchvision" and is_torchvision_detector(name):
        weights = _torchvision_weights(name)
        size, mean, std = native_format(name)
        classes = len(weights.meta["categories"]) - 1  # the first is the background
        return PretrainedWeights(f"torchvision/{weights}", weights.url, classes, 3, size, mean, std)
    if library == "torchvision":
        weights = _torchvision_weights(name)
        settings = weights.transforms()
        side = (getattr(settings, "crop_size", None) or settings.resize_size)[0]  # segmentation crops nothing
        half = (0.5, 0.5, 0.5)
        return PretrainedWeights(
            f"torchvision/{weights}",
            weights.url,
            len(weights.meta["categories"]),
            3,
            (side, side),
            half if name in _TRANSFORMS else tuple(settings.mean),
            half if name in _TRANSFORMS else tuple(settings.std),
        )
    raise UserError(
        f"nobody publishes weights of {model!r}, so it cannot start from {PRETRAINED!r}: only networks of timm and "
        "torchvision can (timm/NAME, torchvision/NAME). Give the path of a safetensors file of this network, or leave "
        "it to start from random weights."
    )


def download_pretrained(network: Network) -> dict[str, Tensor]:
    """PretrainedWeights weights by the names of the library's own module, downloaded or from the library's cache.

    timm's are brought to the classes, channels and size of image of the network by timm itself; torchvision's are as
    they are. Of a network with a decoder they are those of its encoder's module.

    Raises:
        UserError: if nobody publishes any, or they cannot be downloaded.
    """
    found = find_pretrained(network.name)
    library, _, name = split_decoder(network.name)[1].partition("/")
    try:
        return _from_timm(name, network) if library == "timm" else _from_torchvision(name)
    except Exception as error:  # of the network, the hub, the disk or the library
        said = first_line(error).removesuffix(".")
        raise UserError(
            f"the published weights of {network.name!r}, {found.name.partition('/')[2]} from {found.place}, could not "
            f"be loaded: {said}. If there is no way there from here, fetch that file elsewhere and "
            f"give its path in place of {PRETRAINED!r} ({_file_advice(found)})."
        ) from error


def _of_timm(name: str) -> PretrainedWeights:
    import timm  # noqa: PLC0415

    config = timm.get_pretrained_cfg(name)
    if config is None or not (config.has_weights or config.state_dict):
        raise unknown(
            "timm model with published weights:",
            name,
            timm.list_models(pretrained=True),
            "timm.list_models(pretrained=True) lists them all. Or give the path of a safetensors file of this network.",
            listed=False,
        )
    exact = f"{config.architecture}.{config.tag}" if config.tag else str(config.architecture)
    hub = f"https://huggingface.co/{config.hf_hub_id}" if config.hf_hub_id else ""
    return PretrainedWeights(
        f"timm/{exact}",
        str(config.file or hub or config.url),
        config.num_classes,
        config.input_size[0],
        (config.input_size[1], config.input_size[2]),
        tuple(config.mean),
        tuple(config.std),
    )


def _torchvision_weights(name: str) -> Any:
    from torchvision import models  # noqa: PLC0415

    try:
        return models.get_model_weights(name).DEFAULT
    except (AttributeError, ValueError):
        raise UserError(
            f"torchvision publishes no weights of {name!r}. Give the path of a safetensors file of this network, or "
            "leave it to start from random weights."
        ) from None


def _from_timm(name: str, network: Network) -> dict[str, Tensor]:
    import timm  # noqa: PLC0415

    config: Any = timm.get_pretrained_cfg(name)
    options: dict[str, Any] = {"img_size": network.image_size} if config.fixed_input_size else {}
    if config.hf_hub_id and not config.file:
        options |= _at_hand(config)
    with torch.random.fork_rng([]):  # what comes after draws the same numbers as without published weights
        whole = {"features_only": True} if split_decoder(network.name)[0] else {"num_classes": network.spec.num_classes}
        made = timm.create_model(name, pretrained=True, in_chans=network.spec.in_channels, **whole, **options)
    tensors: dict[str, Tensor] = made.state_dict()
    return tensors


def _at_hand(config: Any) -> dict[str, Any]:
    """Where the hub's client has the file already, as an option of timm's: asking for it would need the network.

    Raises:
        Exception: if it does not, and the hub does not answer; the download itself would try again and again.
    """
    from huggingface_hub import HfApi, try_to_load_from_cache  # noqa: PLC0415
    from huggingface_hub.errors import HfHubHTTPError  # noqa: PLC0415

    names = [config.hf_hub_filename] if config.hf_hub_filename else ["model.safetensors", "pytorch_model.bin"]
    for name in names:
        path = try_to_load_from_cache(config.hf_hub_id, name)
        if isinstance(path, str):
            return {} if config.custom_load else {"pretrained_cfg_overlay": {"file": path}}
    with contextlib.suppress(HfHubHTTPError):  # it answers, and may have the file whatever it says of the rest
        HfApi().model_info(config.hf_hub_id, timeout=_SECONDS)
    return {}


def _from_torchvision(name: str) -> dict[str, Tensor]:
    weights = _torchvision_weights(name)
    tensors: dict[str, Tensor] = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    return tensors


def _file_advice(found: PretrainedWeights) -> str:
    if found.name.startswith("timm/"):
        return "on the hub it is called model.safetensors"
    name = Path(found.place)
    return f"as safetensors: persistill import-checkpoint {name.name}"
