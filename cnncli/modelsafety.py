"""What is in an untrusted `.keras` file is checked here, before Keras sees it.

Keras 3.15's own safe mode stood against every published attack, but nine load-time vulnerabilities in two years say
not to rely on it alone. So: an allow-list of classes, no code, no links out of the file, finite values. Nothing from
the file is executed or imported. How large the network is shows when it is built: see `cnncli.learning.models`.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnncli.errors import ModelError
from cnncli.modelfile import check_members, open_archive, read_json, require_model_format

_LAYERS = """
    InputLayer Functional Sequential Dense EinsumDense Conv1D Conv2D DepthwiseConv2D SeparableConv2D Conv2DTranspose
    MaxPooling2D AveragePooling2D GlobalAveragePooling2D GlobalMaxPooling2D AdaptiveAveragePooling2D
    AdaptiveMaxPooling2D GlobalAveragePooling1D GlobalMaxPooling1D BatchNormalization LayerNormalization
    GroupNormalization RMSNormalization UnitNormalization Normalization LayerScale CustomScaleLayer
    Rescaling Resizing CenterCrop ZeroPadding2D Cropping2D UpSampling2D Activation ReLU LeakyReLU PReLU ELU
    Softmax Identity Dropout SpatialDropout2D AlphaDropout GaussianDropout GaussianNoise StochasticDepth
    ActivityRegularization Flatten Reshape Permute RepeatVector MultiHeadAttention Add Subtract Multiply
    Average Maximum Minimum Concatenate AutoContrast Equalization RandomFlip RandomRotation RandomZoom
    RandomTranslation RandomContrast RandomBrightness RandomCrop RandomShear RandomSaturation RandomHue
    RandomColorJitter RandomColorDegeneration RandomGrayscale RandomErasing RandomElasticTransform
    RandomGaussianBlur RandomInvert RandomPerspective RandomPosterization RandomSharpness Solarization
""".split()
_OPERATIONS = """
    Absolute Cast Clip Divide Exp ExpandDims Flip Gelu GetItem HardSigmoid HardSilu LeakyRelu Log Matmul Max Mean
    Negative Pad Power Relu Relu6 Resize Sigmoid Silu Softplus Sqrt Square Squeeze Stack Sum Swapaxes Tanh Transpose
    TrueDivide
""".split()
_PARTS = """
    DTypePolicy SeedGenerator __keras_tensor__ __tuple__ __slice__ __ellipsis__ Zeros Ones Constant Identity
    RandomNormal RandomUniform TruncatedNormal VarianceScaling Orthogonal GlorotNormal GlorotUniform HeNormal
    HeUniform LecunNormal LecunUniform L1 L2 L1L2 OrthogonalRegularizer MaxNorm MinMaxNorm NonNeg UnitNorm
""".split()
ALLOWED_CLASSES = frozenset(_LAYERS + _OPERATIONS + _PARTS)

_FLOAT_POLICIES = ("float16", "bfloat16", "float64", "mixed_float16", "mixed_bfloat16")


@dataclass(frozen=True, slots=True)
class KerasContent:
    """What a checked `.keras` file holds, and what of it is handed to Keras."""

    config: dict[str, Any]  # for inference in float32: see `check_config`
    metadata: dict[str, Any]
    weights: bytes  # of the HDF5 file inside


def check_keras_file(path: Path) -> KerasContent:
    """The content of the `.keras` file at `path`. Raises ModelError unless it is safe to hand to Keras."""
    from cnncli import hdf5  # needs numpy, which `check_config` must not: sizes are worked out without it

    require_model_format(path)
    with open_archive(path) as archive:
        check_members(archive, path)
        config = read_json(archive, "config.json", path)
        metadata = read_json(archive, "metadata.json", path)
        weights = archive.read("model.weights.h5")  # a whole read also compares the CRC
    if not isinstance(config, dict) or not isinstance(metadata, dict):
        raise ModelError(f"{path}: its config.json or metadata.json is not a JSON object; refused")
    check_config(config, path)
    hdf5.check(io.BytesIO(weights), len(weights), str(path))
    return KerasContent(config, metadata, weights)


def check_config(config: dict[str, Any], path: Path) -> None:
    """Raises ModelError at the first class that is not allowed.

    Removes from `config` what Keras would act on without need: how the model was trained (`compile_config`, often
    with code of its owner's) and the shapes that layers are built for before they are called (`build_config`). Turns
    its floating-point policies into float32, which is what cnncli computes in.
    """
    for node in _objects(config):
        node.pop("compile_config", None)
        node.pop("build_config", None)
        _check_class(node, path)
        _make_float32(node)


def _check_class(node: dict[str, Any], path: Path) -> None:
    name, module = node["class_name"], node.get("module")
    if name in ("Lambda", "__lambda__"):
        raise ModelError(f"{path}: it contains Python code (a Lambda layer); refused")
    foreign = module is not None and not (isinstance(module, str) and module.split(".")[0] in ("keras", "builtins"))
    known = isinstance(name, str) and name in ALLOWED_CLASSES
    if not known or foreign or node.get("registered_name") not in (None, name):
        raise ModelError(
            f"{path}: it contains the class {str(name)[:80]!r} of {str(module)[:80]!r}, "
            "which is not among the layers that cnncli accepts; refused"
        )


def _make_float32(node: dict[str, Any]) -> None:
    config = node.get("config")
    key = "name" if node["class_name"] == "DTypePolicy" else "dtype"
    if isinstance(config, dict) and config.get(key) in _FLOAT_POLICIES:
        config[key] = "float32"


def _objects(config: object) -> Iterator[dict[str, Any]]:
    """Every object in a Keras config that names a class."""
    waiting = [config]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            if "class_name" in item:
                yield item
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)
