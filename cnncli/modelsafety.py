"""What is in an untrusted `.keras` file is checked here, before Keras sees it.

Keras 3.15's own safe mode stood against every published attack, but nine load-time vulnerabilities in two years say
not to rely on it alone. So: an allow-list of classes, no code, no links out of the file, sizes compared before
anything is built, finite values. Nothing from the file is executed or imported.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cnncli import hdf5
from cnncli.errors import ModelError
from cnncli.modelfile import check_members, read_json, require_model_format

_LAYERS = """
    InputLayer Functional Sequential Dense Conv1D Conv2D DepthwiseConv2D SeparableConv2D Conv2DTranspose
    MaxPooling2D AveragePooling2D GlobalAveragePooling2D GlobalMaxPooling2D AdaptiveAveragePooling2D
    BatchNormalization LayerNormalization GroupNormalization UnitNormalization Normalization LayerScale
    Rescaling Resizing CenterCrop ZeroPadding2D Cropping2D UpSampling2D Activation ReLU LeakyReLU PReLU ELU
    Softmax Identity Dropout SpatialDropout2D AlphaDropout GaussianDropout GaussianNoise StochasticDepth
    ActivityRegularization Flatten Reshape Permute RepeatVector MultiHeadAttention Add Subtract Multiply
    Average Maximum Minimum Concatenate RandomFlip RandomRotation RandomZoom RandomTranslation RandomContrast
    RandomBrightness RandomCrop RandomShear RandomSaturation RandomHue RandomColorJitter RandomGrayscale
    RandomErasing RandomGaussianBlur
""".split()
_OPERATIONS = """
    Flip GetItem Divide TrueDivide Negative Mean Max Sum Relu Relu6 Sigmoid HardSigmoid Silu Gelu
""".split()
_PARTS = """
    DTypePolicy SeedGenerator __keras_tensor__ __tuple__ __slice__ __ellipsis__ Zeros Ones Constant Identity
    RandomNormal RandomUniform TruncatedNormal VarianceScaling Orthogonal GlorotNormal GlorotUniform HeNormal
    HeUniform LecunNormal LecunUniform L1 L2 L1L2 OrthogonalRegularizer MaxNorm MinMaxNorm NonNeg UnitNorm
""".split()
ALLOWED_CLASSES = frozenset(_LAYERS + _OPERATIONS + _PARTS)

_SMALLEST_WEIGHT_BYTES = 2  # float16
MAX_ACTIVATION_ELEMENTS = 1 << 28  # of one layer for one image: 1 GB of float32


def check_keras_file(path: Path) -> dict[str, Any]:
    """Raises ModelError unless the `.keras` file at `path` is safe to hand to Keras; returns its metadata."""
    require_model_format(path)
    try:
        with zipfile.ZipFile(path) as archive:
            check_members(archive, path)
            config = read_json(archive, "config.json", path)
            metadata = read_json(archive, "metadata.json", path)
            parameters = check_config(config, path)
            weights = archive.getinfo("model.weights.h5")
            if parameters * _SMALLEST_WEIGHT_BYTES > weights.file_size:
                raise ModelError(
                    f"{path}: its layers need at least {parameters:,} weights, "
                    f"but it stores {weights.file_size:,} bytes; refused"
                )
            content = io.BytesIO(archive.read("model.weights.h5"))  # a whole read also compares the CRC
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as problem:
        raise ModelError(f"{path}: the file is damaged ({problem})") from problem
    hdf5.check(content, len(content.getbuffer()), str(path))
    return metadata if isinstance(metadata, dict) else {}


def check_config(config: object, path: Path) -> int:
    """Raises ModelError at the first class that is not allowed; returns a lower bound of the parameters."""
    parameters = 0
    for node in _objects(config):
        name = node["class_name"]
        module = node.get("module")
        if name in ("Lambda", "__lambda__"):
            raise ModelError(f"{path}: it contains Python code (a Lambda layer); refused")
        foreign = module is not None and not (isinstance(module, str) and module.split(".")[0] in ("keras", "builtins"))
        if name not in ALLOWED_CLASSES or foreign or node.get("registered_name") not in (None, name):
            raise ModelError(
                f"{path}: it contains the class {str(name)[:80]!r} of {str(module)[:80]!r}, "
                "which is not among the layers that cnncli accepts; refused"
            )
        parameters += _smallest_parameters(node, path)
    return parameters


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


def _smallest_parameters(node: dict[str, Any], path: Path) -> int:
    config = node.get("config")
    if not isinstance(config, dict):
        return 0
    sizes: list[object] = []
    if node["class_name"] == "Dense":
        sizes = [config.get("units")]
    elif "filters" in config:
        kernel = config.get("kernel_size", 1)
        sizes = [config["filters"], *(kernel if isinstance(kernel, list) else [kernel])]
    if not all(type(size) is int and size > 0 for size in sizes):
        raise ModelError(f"{path}: the layer {str(config.get('name'))[:80]!r} has impossible sizes {sizes}; refused")
    return math.prod(size for size in sizes if isinstance(size, int)) if sizes else 0
