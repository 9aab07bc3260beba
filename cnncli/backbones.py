"""The pretrained networks: one frozen row each.

Everything here is data; `cnncli.learning.backbones` builds the networks and `tests/test_backbones.py` compares
each row with Keras. Weights files, addresses and hashes are those in the source of Keras 3.15
(`keras/src/applications`). Accuracies are single-crop ImageNet validation figures as published: in the table of
https://keras.io/api/applications/ or, for MobileNet and MobileNetV3, in the docstring of the Keras module.
"""

import os
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from cnncli.errors import CacheError

Normalisation = Literal["caffe", "tf", "torch", "none"]

NORMALISATIONS: dict[Normalisation, str] = {
    "caffe": "RGB to BGR, minus the ImageNet mean (103.939, 116.779, 123.68)",
    "tf": "pixel / 127.5 - 1, so that 0..255 becomes -1..1",
    "torch": "(pixel / 255 - mean) / std with ImageNet's mean and standard deviation per channel",
    "none": "built into the network, which takes pixels 0..255",
}

WEIGHTS_SITE = "https://storage.googleapis.com/"
_TENSORFLOW = "tensorflow/keras-applications/"
_TF_KERNELS = "_weights_tf_dim_ordering_tf_kernels"


Resize = Literal["crop", "squash", "pad"]  # how a photo becomes the network's input
RESIZES: tuple[Resize, ...] = get_args(Resize)


@dataclass(frozen=True, slots=True)
class InputSpec:
    """What a network takes: pixels 0..255 of shape `(height, width, channels)`."""

    height: int
    width: int
    color: str = "rgb"  # "rgb" (3 channels) or "gray" (1)
    resize: Resize = "crop"


class ImageClass(NamedTuple):
    """A class that a network can answer with."""

    id: str
    label: str

    @property
    def words(self) -> str:
        """The label as people write it: `Egyptian cat` for `Egyptian_cat`."""
        return self.label.replace("_", " ")


@dataclass(frozen=True, slots=True)
class Backbone:
    """A network of Keras Applications with ImageNet weights."""

    name: str
    function: str  # its name in keras.applications
    module: str  # the module of keras.applications that has its preprocess_input
    input_px: int  # side of the square input
    normalisation: Normalisation
    weights_file: str  # name in Keras's cache
    address: str  # path below WEIGHTS_SITE, without the file name unless that differs from weights_file
    digest: str | None  # "md5:..." or "sha256:...", where Keras has one
    parameters: int  # all of them, moving averages of batch normalisation included
    top1: float
    top5: float | None
    paper: str
    licence: str
    alpha: float | None = None  # MobileNet's width multiplier

    @property
    def input(self) -> InputSpec:
        """What the network takes."""
        return InputSpec(self.input_px, self.input_px)

    @property
    def url(self) -> str:
        """Where the weights are published; the variable CNNCLI_WEIGHTS_MIRROR names a mirror of the site."""
        site = os.environ.get("CNNCLI_WEIGHTS_MIRROR", WEIGHTS_SITE).rstrip("/") + "/"
        return site + self.address + (self.weights_file if self.address.endswith("/") else "")

    @property
    def weights_path(self) -> Path:
        """The weights file in Keras's own cache, whether it is there or not."""
        return keras_home() / "models" / self.weights_file

    @property
    def weights_bytes(self) -> int:
        """Size of the weights in bytes: 4 for each float32 parameter. The file is about one percent larger."""
        return 4 * self.parameters


_RESNET = ("https://arxiv.org/abs/1512.03385", "MIT")
_VGG = ("https://arxiv.org/abs/1409.1556", "CC-BY-4.0")
_MOBILENET = ("https://arxiv.org/abs/1704.04861", "Apache-2.0")
_MOBILENET_V3 = ("https://arxiv.org/abs/1905.02244", "Apache-2.0")

BACKBONES: dict[str, Backbone] = {
    row.name: row
    for row in (
        Backbone(
            "resnet50", "ResNet50", "resnet", 224, "caffe",
            f"resnet50{_TF_KERNELS}.h5", f"{_TENSORFLOW}resnet/",
            "md5:2cb95161c43110f7111970584f804107", 25_636_712, 0.749, 0.921, *_RESNET,
        ),
        Backbone(
            "resnet101", "ResNet101", "resnet", 224, "caffe",
            f"resnet101{_TF_KERNELS}.h5", f"{_TENSORFLOW}resnet/",
            "md5:f1aeb4b969a6efcfb50fad2f0c20cfc5", 44_707_176, 0.764, 0.928, *_RESNET,
        ),
        Backbone(
            "resnet152", "ResNet152", "resnet", 224, "caffe",
            f"resnet152{_TF_KERNELS}.h5", f"{_TENSORFLOW}resnet/",
            "md5:100835be76be38e30d865e96f2aaae62", 60_419_944, 0.766, 0.931, *_RESNET,
        ),
        Backbone(
            "vgg16", "VGG16", "vgg16", 224, "caffe",
            f"vgg16{_TF_KERNELS}.h5", f"{_TENSORFLOW}vgg16/",
            "md5:64373286793e3c8b2b4e3219cbf3544b", 138_357_544, 0.713, 0.901, *_VGG,
        ),
        Backbone(
            "vgg19", "VGG19", "vgg19", 224, "caffe",
            f"vgg19{_TF_KERNELS}.h5", f"{_TENSORFLOW}vgg19/",
            "md5:cbe5617147190e668d6c5d5026f83318", 143_667_240, 0.713, 0.900, *_VGG,
        ),
        Backbone(
            "mobilenet-0.25", "MobileNet", "mobilenet", 224, "tf",
            "mobilenet_2_5_224_tf.h5", f"{_TENSORFLOW}mobilenet/",
            None, 475_544, 0.506, None, *_MOBILENET, alpha=0.25,
        ),
        Backbone(
            "mobilenet-0.5", "MobileNet", "mobilenet", 224, "tf",
            "mobilenet_5_0_224_tf.h5", f"{_TENSORFLOW}mobilenet/",
            None, 1_342_536, 0.637, None, *_MOBILENET, alpha=0.5,
        ),
        Backbone(
            "mobilenet-0.75", "MobileNet", "mobilenet", 224, "tf",
            "mobilenet_7_5_224_tf.h5", f"{_TENSORFLOW}mobilenet/",
            None, 2_601_976, 0.684, None, *_MOBILENET, alpha=0.75,
        ),
        Backbone(
            "mobilenet", "MobileNet", "mobilenet", 224, "tf",
            "mobilenet_1_0_224_tf.h5", f"{_TENSORFLOW}mobilenet/",
            None, 4_253_864, 0.706, 0.895, *_MOBILENET, alpha=1.0,
        ),
        Backbone(
            "mobilenetv2", "MobileNetV2", "mobilenet_v2", 224, "tf",
            f"mobilenet_v2{_TF_KERNELS}_1.0_224.h5", f"{_TENSORFLOW}mobilenet_v2/",
            None, 3_538_984, 0.713, 0.901, "https://arxiv.org/abs/1801.04381", "Apache-2.0",
        ),
        Backbone(
            "mobilenetv3-small", "MobileNetV3Small", "mobilenet_v3", 224, "none",
            "weights_mobilenet_v3_small_224_1.0_float.h5", f"{_TENSORFLOW}mobilenet_v3/",
            "md5:8768d4c2e7dee89b9d02b2d03d65d862", 2_554_968, 0.681, None, *_MOBILENET_V3,
        ),
        Backbone(
            "mobilenetv3-large", "MobileNetV3Large", "mobilenet_v3", 224, "none",
            "weights_mobilenet_v3_large_224_1.0_float.h5", f"{_TENSORFLOW}mobilenet_v3/",
            "md5:59e551e166be033d707958cf9e29a6a7", 5_507_432, 0.756, None, *_MOBILENET_V3,
        ),
        Backbone(
            "inceptionv3", "InceptionV3", "inception_v3", 299, "tf",
            f"inception_v3{_TF_KERNELS}.h5", f"{_TENSORFLOW}inception_v3/",
            "md5:9a0d58056eeedaa3f26cb7ebd46da564", 23_851_784, 0.779, 0.937,
            "https://arxiv.org/abs/1512.00567", "Apache-2.0",
        ),
        Backbone(
            "xception", "Xception", "xception", 299, "tf",
            f"xception{_TF_KERNELS}.h5", f"{_TENSORFLOW}xception/",
            "md5:0a58e3b7378bc2990ea3b43d5981f1f6", 22_910_480, 0.790, 0.945,
            "https://arxiv.org/abs/1610.02357", "Apache-2.0",
        ),
        Backbone(
            "efficientnetb0", "EfficientNetB0", "efficientnet", 224, "none",
            "efficientnetb0.h5", "keras-applications/",
            "md5:902e53a9f72be733fc0bcb005b3ebbac", 5_330_571, 0.771, 0.933,
            "https://arxiv.org/abs/1905.11946", "Apache-2.0",
        ),
        Backbone(
            "densenet121", "DenseNet121", "densenet", 224, "torch",
            f"densenet121{_TF_KERNELS}.h5", f"{_TENSORFLOW}densenet/",
            "md5:9d60b8095a5708f2dcce2bca79d332c7", 8_062_504, 0.750, 0.923,
            "https://arxiv.org/abs/1608.06993", "BSD-3-Clause",
        ),
        Backbone(
            "convnext-tiny", "ConvNeXtTiny", "convnext", 224, "none",
            "convnext_tiny.h5", f"{_TENSORFLOW}convnext/",
            "sha256:8ae6e78ce2933352b1ef4008e6dd2f17bc40771563877d156bc6426c7cf503ff", 28_589_128, 0.813, None,
            "https://arxiv.org/abs/2201.03545", "MIT",
        ),
        Backbone(
            "nasnetmobile", "NASNetMobile", "nasnet", 224, "tf",
            "nasnet_mobile.h5", f"{_TENSORFLOW}nasnet/NASNet-mobile.h5",
            "md5:020fb642bf7360b370c678b08e0adf61", 5_326_716, 0.744, 0.919,
            "https://arxiv.org/abs/1707.07012", "Apache-2.0",
        ),
    )
}  # fmt: skip

DEFAULT = "resnet50"
BUNDLED = "tiny200"  # comes with cnncli: see cnncli.bundled


def is_bundled(name: str) -> bool:
    """Whether `name` means the bundled model, in any spelling."""
    return _spelling(name) == _spelling(BUNDLED)


def names() -> list[str]:
    """Every network with weights that is known by name: those of the table, and the bundled one."""
    return [*BACKBONES, BUNDLED]


def find(name: str) -> Backbone | None:
    """The row called `name`, in any of the spellings in use: `ResNet50`, `mobilenet_v2`, `EfficientNet-B0`."""
    spelling = _spelling(name)
    if spelling == _spelling("mobilenet-1.0"):
        return BACKBONES["mobilenet"]
    return next((row for row in BACKBONES.values() if _spelling(row.name) == spelling), None)


def _spelling(name: str) -> str:
    return re.sub(r"[-_ ]", "", name.lower())


@cache
def imagenet_classes() -> tuple[ImageClass, ...]:
    """The 1000 ImageNet classes in the order of every Keras network: WordNet id and label."""
    table = (files("cnncli") / "data" / "imagenet1k.tsv").read_text(encoding="utf-8")
    return tuple(ImageClass(*line.split("\t")[1:]) for line in table.splitlines()[1:])


def keras_home() -> Path:
    """Keras's own folder: `$KERAS_HOME`, or `.keras` in the user's home. Raises CacheError if there is no home."""
    configured = os.environ.get("KERAS_HOME")
    if configured:
        return Path(configured)
    try:
        return Path("~/.keras").expanduser()
    except RuntimeError:
        raise CacheError("this user has no home folder; set KERAS_HOME to a folder for weights") from None
