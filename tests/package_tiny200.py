"""Makes `cnncli/data/tiny200.tflite`, the bundled model, of a run of `cnncli train`.

Run it as `python tests/package_tiny200.py RUN DATA`, where RUN is the folder of the run that the model's card describes
and DATA is Tiny ImageNet. Batch normalisation gets the statistics of whole training images. The run's held-out images,
which come out of DATA/train, fit one temperature, so that scores are as high as answers are often right (Guo et al.
2017, arXiv:1706.04599). DATA/val is scored at the end, by the very file that is shipped, and decides nothing.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cnncli import bundled, history, images
from cnncli.backbones import BUNDLED, InputSpec
from cnncli.datasets.find import open_dataset
from cnncli.evaluation import run as evaluation
from cnncli.evaluation.evaluation import Evaluation
from cnncli.evaluation.metrics import calibration_error, reliability
from cnncli.inference.models import open_model
from cnncli.inference.request import ModelRequest, usable_cores
from cnncli.learning import keras, tf
from cnncli.learning.compile import compile_network
from cnncli.learning.models import load_carded
from cnncli.learning.networks import build, with_probabilities
from cnncli.modelcard import ModelCard
from cnncli.modelfile import write_tflite
from cnncli.networks import NAMED_NETS
from cnncli.runs import Run, Seen
from cnncli.sources import Source
from cnncli.text import duration

Floats = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.uint8]

_BATCH, _SETTLING = 128, 50 * 128  # images: at a time as in training, and in all

LICENCE = "weights: research and teaching, not commercial, as the images that they were learned from; code: Apache-2.0"
DESCRIPTION = "a residual network that cnncli itself trained on Tiny ImageNet, from random weights"
NOTES = (
    "Classes: 200 of ImageNet's 1000: animals, things, food, a few scenes. Whatever a photo shows, the answer is one "
    "of them; a low score is how an unknown subject looks.",
    "Data: Tiny ImageNet (Stanford CS231n), 500 training images of 64x64 pixels a class, taken from ImageNet, whose "
    "terms allow research and teaching that is not commercial.",
    "Bad at: small subjects in wide scenes, since it sees a photo at 64x64 pixels, its centre only; kinds that differ "
    "in detail (dogs, snakes, spiders, tools); drawings; several subjects at once. People are no class of it.",
    "For more classes and accuracy: a published network such as mobilenet or resnet50 ('cnncli models list').",
)


def shown(rows: Sequence[Seen], spec: InputSpec) -> Pixels:
    """Images as the network sees them, `(images, height, width, 3)`."""

    def pixels(row: Seen) -> Pixels:
        picture = images.read(Source(row.path, path=Path(row.path)), shorter_side_px=spec.height)
        return images.network_input(picture, spec)

    return np.stack([pixels(row) for row in rows])


def settle(network: Any, pixels: Pixels) -> None:
    """Gives batch normalisation the statistics of images as they are, in place of those of the last training steps.

    Training crops and mirrors, and its moving averages look back on ten steps: the mean over many batches of plain
    images is nearer to what the network will see (precise BN; Wu & Johnson 2021, arXiv:2105.07576, section 3).
    """
    layers = [layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for layer in layers:
        layer.momentum = 0.0  # so that a step leaves the statistics of its batch
    answer = tf.function(lambda batch: network(batch, training=True))
    batches = np.split(pixels.astype(np.float32), len(pixels) // _BATCH)
    found: list[list[Floats]] = []
    for batch in batches:
        answer(tf.constant(batch))
        found.append([weight.numpy().astype(np.float64) for layer in layers for weight in _statistics(layer)])
    for weight, values in zip(
        (w for layer in layers for w in _statistics(layer)), zip(*found, strict=True), strict=True
    ):
        weight.assign(np.mean(values, axis=0))


def _statistics(layer: Any) -> tuple[Any, Any]:
    return layer.moving_mean, layer.moving_variance


def logits_of(network: Any, pixels: npt.NDArray[np.uint8]) -> list[Floats]:
    """What the network gives before its softmax for images and for their mirror images, `(images, classes)` each."""
    views = pixels, pixels[:, :, ::-1]
    return [network.predict(view.astype(np.float32), verbose=0).astype(np.float64) for view in views]


def probabilities(logits: Sequence[Floats], temperature: float) -> Floats:
    """The mean of the views' probabilities, their logits divided by a temperature."""
    scaled = [view / temperature for view in logits]
    powers = [np.exp(view - view.max(axis=1, keepdims=True)) for view in scaled]
    mean: Floats = np.mean([power / power.sum(axis=1, keepdims=True) for power in powers], axis=0)
    return mean


def fitted_temperature(logits: Sequence[Floats], truth: npt.NDArray[np.int64]) -> float:
    """The temperature with the lowest mean negative log-likelihood, to three digits."""

    def loss(temperature: float) -> float:
        return float(-np.log(probabilities(logits, temperature)[np.arange(len(truth)), truth]).mean())

    return float(min(np.arange(0.3, 3.0, 0.005).round(3), key=loss))


def told(scores: Floats, truth: npt.NDArray[np.int64]) -> str:
    """Accuracy and expected calibration error of some scores."""
    best = scores.argmax(axis=1)
    error = calibration_error(reliability(scores.max(axis=1).astype(np.float32), best == truth))
    return f"top-1 {np.mean(best == truth):.4f}, ECE {error:.4f}"


def logits_network(model: Any, card: ModelCard) -> Any:
    """The named net with the weights of the run's model, without its softmax."""
    logits = build(NAMED_NETS[BUNDLED].layers(len(card.classes)), card.input)
    logits.set_weights(model.get_weights())
    return logits


def log(run: Run) -> str:
    """The run's epochs as a table."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=" ", lineterminator="\n")
    writer.writerow(["epoch", "loss", "accuracy", "val_loss", "val_accuracy", "lr", "seconds"])
    for row in history.read(run.history):
        figures = (row.loss, row.accuracy, row.val_loss, row.val_accuracy)
        writer.writerow(
            [row.epoch, *(f"{figure:.4f}" for figure in figures), f"{row.learning_rate:.2g}", f"{row.seconds:.0f}"]
        )
    return text.getvalue().rstrip()


def training(run: Run, temperature: float) -> dict[str, str]:
    """How the model was made, for its card."""
    record = run.read_record()
    command = [Path(word).name if "/" in word else word for word in record["command"]]
    command[command.index("-o") + 1] = f"runs/{BUNDLED}"
    command[command.index("train", 2)] = "tiny-imagenet-200/train"
    counts, threads = record["images"], record["threads"]
    return {
        "command": " ".join(command),
        "seed": str(record["settings"]["seed"]),
        "images": f"{counts['train']:,} to learn from, {counts['val']:,} of the same folder held out",
        "time": f"{duration(record['seconds'])} on {threads['parts'] * threads['each']} processor cores",
        "batch statistics": f"measured anew on {_SETTLING:,} of the training images as they are",
        "temperature": f"{temperature:g}, fitted on the held-out images",
        "log": log(run),
    }


def scored(data: Path) -> Evaluation:
    """The shipped file on every image of DATA/val."""
    ready = open_model(ModelRequest(BUNDLED), notify=print, progress=lambda *_: None)
    dataset = open_dataset(
        str(data / "val"), offline=True, notify=print, progress=lambda *_: None, to_train=False, wanted=None
    )
    task = evaluation.task(ready, dataset, evaluation.Question(top=3, workers=usable_cores()))
    ignore: Callable[..., None] = lambda *_: None  # noqa: E731
    return evaluation.evaluate(task, evaluation.Tellers(ignore, ignore, ignore), trained_on=None)


def with_figures(card: ModelCard, found: Evaluation) -> ModelCard:
    """The card with the accuracy on DATA/val."""
    (low, high), (low3, high3) = found.interval(1), found.interval(3)
    figures = (
        f"Accuracy on the {found.images:,} images of Tiny ImageNet's val folder, which chose nothing: top-1 "
        f"{found.accuracy:.4f} (95 % interval {low:.4f} to {high:.4f}), top-3 {found.top_k(3):.4f} ({low3:.4f} to "
        f"{high3:.4f}); expected calibration error {found.calibration_error:.4f}."
    )
    metrics = {"top1": found.accuracy, "top3": found.top_k(3), "ece": found.calibration_error}
    return replace(card, metrics=metrics, notes=(figures, *card.notes))


def main() -> None:
    run, data = Run(Path(sys.argv[1])), Path(sys.argv[2])
    model, card = load_carded(run.model)
    network = logits_network(model, card)
    learned = [row for row in run.read_data() if row.split == "train"]
    order = np.random.default_rng(0).permutation(len(learned))[:_SETTLING]
    settle(network, shown([learned[number] for number in order], card.input))
    held_out = [row for row in run.read_data() if row.split == "val"]
    ids = [c.id for c in card.classes]
    logits, truth = (
        logits_of(network, shown(held_out, card.input)),
        np.array([ids.index(row.label) for row in held_out]),
    )
    temperature = fitted_temperature(logits, truth)
    print(f"held out, one view:            {told(probabilities(logits[:1], 1.0), truth)}")
    print(f"held out, both views:          {told(probabilities(logits, 1.0), truth)}")
    print(f"held out, temperature {temperature:g}:  {told(probabilities(logits, temperature), truth)}")
    dense = network.layers[-1]
    dense.set_weights([weight / temperature for weight in dense.get_weights()])
    card = replace(
        card,
        name=BUNDLED,
        licence=LICENCE,
        description=DESCRIPTION,
        mirrored=True,
        training=training(run, temperature),
        notes=NOTES,
        metrics={},
        sha256=None,
    )
    flatbuffer = compile_network(with_probabilities(network), card.input, half=True)
    write_tflite(flatbuffer, card, bundled.path())
    found = scored(data)
    write_tflite(flatbuffer, with_figures(card, found), bundled.path())
    print(f"val: top-1 {found.accuracy:.4f}, top-3 {found.top_k(3):.4f}, ECE {found.calibration_error:.4f}")
    print(f"{bundled.path()}: {bundled.path().stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
