"""Lite reduced atrous spatial pyramid pooling, a light decoder (Howard et al. 2019, "Searching for MobileNetV3")."""

from torch import Tensor, nn
from torch.nn import functional as F

from persistill.models.base import Network
from persistill.models.encoder import Encoder
from persistill.structures import FeatureSpec, ModelOutput

_WIDTH = 128
_LOW_STRIDE = 8


class LRASPP(Network):
    """An encoder with the decoder of section 6.4 (figure 10): two of its maps vote on the class of each pixel.

    The last map is projected to 128 channels, gated by the encoder's pooled output, and classified by a 1x1
    convolution; an earlier map, at the last stride of 8 or less, by another one. The logits of the first are enlarged
    to the size of the second, and their sum to the size of the image (both bilinear). The paper pools windows of
    49x49 for the gate; here, as in torchvision's, the whole map is pooled.

    Args:
        name: of the network, "lraspp:" and that of the encoder.
        encoder: gives the maps.
        num_classes: K.
    """

    def __init__(self, name: str, encoder: Encoder, num_classes: int) -> None:
        maps = encoder.feature_maps
        super().__init__(name, FeatureSpec(encoder.in_channels, num_classes, encoder.embedding_dim, maps))
        self.image_size = encoder.image_size
        self._high = [*maps][-1]
        self._low = self._high
        for stage, (_, stride) in maps.items():
            if self._low == self._high or stride <= min(_LOW_STRIDE, maps[self._high].stride // 2):
                self._low = stage
        self.encoder = encoder
        self.project = nn.Sequential(
            nn.Conv2d(maps[self._high].channels, _WIDTH, 1, bias=False), nn.BatchNorm2d(_WIDTH), nn.ReLU()
        )
        self.gate = nn.Sequential(nn.Conv2d(encoder.embedding_dim, _WIDTH, 1, bias=False), nn.Sigmoid())
        self.classifier = nn.ModuleDict(
            {
                "low": nn.Conv2d(maps[self._low].channels, num_classes, 1),
                "high": nn.Conv2d(_WIDTH, num_classes, 1),
            }
        )

    def forward(self, x: Tensor) -> ModelOutput:
        """Classify the pixels of images.

        Args:
            x: (B, in_channels, H, W), normalized.

        Returns:
            Logits (B, num_classes, H, W), the encoder's pooled output (B, D), and the maps of its stages.
        """
        embedding, maps = self.encoder(x)
        high = self.project(maps[self._high]) * self.gate(embedding[:, :, None, None])
        # A 1x1 convolution and a bilinear enlargement change places without a change of the result.
        votes = _enlarge(self.classifier["high"](high), maps[self._low])
        logits = _enlarge(self.classifier["low"](maps[self._low]) + votes, x)
        return ModelOutput(logits, embedding, maps)


def _enlarge(values: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(values, like.shape[2:], mode="bilinear", align_corners=False)
