"""Makes a model file of a network, LiteRT or Keras, in a process of its own: `python -m cnncli.learning.compile JOB`.

A process of its own keeps TensorFlow's memory, messages and crashes away from the run that asked for it, and can be
stopped at once.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cnncli import hdf5
from cnncli.backbones import BACKBONES, InputSpec
from cnncli.errors import CnncliError, ModelError
from cnncli.inference.engine import LiteRTEngine, mean, views
from cnncli.inference.locate import backbone_card
from cnncli.learning import tf
from cnncli.learning.backbones import build
from cnncli.learning.models import load_carded, save_carded, versions
from cnncli.modelcard import ModelCard
from cnncli.modelfile import write_tflite

# Rounding makes probabilities of the networks in the table differ by less than 1e-4; more is an error.
TOLERANCE = 1e-3


def network(job: dict[str, str]) -> tuple[Any, ModelCard]:
    """The Keras network that a job names, pixels 0..255 in and probabilities out, and its card."""
    if job["kind"] == "keras":
        return load_carded(Path(job["path"]))
    weights = Path(job["path"])
    row = hdf5.row_of(BACKBONES[job["name"]], weights)
    return build(row, weights), backbone_card(row)


def compile_network(model: Any, spec: InputSpec, *, half: bool = False) -> bytes:
    """The LiteRT flatbuffer of a Keras network, for one image at a time; with `half` its weights are float16.

    The batch is fixed at 1: with an open one LiteRT's XNNPACK delegate refuses MobileNetV3.
    """
    one_image = (1, spec.height, spec.width, 1 if spec.color == "gray" else 3)
    graph, pixels, answer = _constant_graph(model, one_image)
    converter = tf.compat.v1.lite.TFLiteConverter(graph, None, None, [(pixels, one_image)], [answer])
    converter.exclude_conversion_metadata = True  # to add it, the file would be unpacked and packed again
    if half:  # pixels and probabilities stay float32
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    flatbuffer: bytes = converter.convert()
    return flatbuffer


def _constant_graph(model: Any, shape: tuple[int, ...]) -> tuple[Any, str, str]:
    """The GraphDef of a network whose weights are constants, and the names of its input and its output.

    They are constants from the start: to turn variables into constants afterwards takes a third more memory and two
    thirds more time (VGG19).
    """
    values = [[np.asarray(one) for one in part] for part in (model.trainable_variables, model.non_trainable_variables)]

    def answers(pixels: Any) -> Any:
        trainable, others = ([tf.constant(value) for value in part] for part in values)
        return model.stateless_call(trainable, others, pixels, training=False)[0]

    traced = tf.function(answers, autograph=False).get_concrete_function(tf.TensorSpec(shape, tf.float32))
    return traced.graph.as_graph_def(), traced.inputs[0].op.name, traced.outputs[0].op.name


def make(job: dict[str, str]) -> None:
    """Builds the network and writes `job["output"]` in the form that the job names. Raises CnncliError and OSError."""
    if job["form"] == "litert":
        compile_job(job)
        return
    model, card = _current(job)
    if job["form"] == "keras":
        save_carded(model, card, Path(job["output"]))
    else:  # float16: what rounding does to the answers is for the caller to measure
        write_tflite(compile_network(model, card.input, half=True), card, Path(job["output"]))


def _current(job: dict[str, str]) -> tuple[Any, ModelCard]:
    """The network of a job, and its card with the software that is making a file of it now."""
    model, card = network(job)
    return model, replace(card, versions={**card.versions, **versions()})


def compile_job(job: dict[str, str]) -> None:
    """Builds, compiles, writes `job["output"]` and compares its answer with Keras's on one random image."""
    model, card = _current(job)
    output = Path(job["output"])
    write_tflite(compile_network(model, card.input), card, output)
    shape = (card.input.height, card.input.width, 1 if card.input.color == "gray" else 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    expected = mean(model(views(pixels, mirrored=card.mirrored), training=False).numpy())
    difference = float(np.abs(LiteRTEngine(output, card, num_threads=1)(pixels) - expected).max())
    if not difference <= TOLERANCE:  # also true of NaN
        raise ModelError(
            f"{job['path']}: compiled and original network differ by {difference:.2g}; use --backend tensorflow"
        )


def main() -> int:
    """Does the job that the command line holds as JSON; an error goes to stdout as JSON."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    job = json.loads(sys.argv[1])
    try:
        make(job)
    except CnncliError as problem:
        print(json.dumps({"error": str(problem)}))
        return 1
    except OSError as problem:
        place = problem.filename or Path(job["output"]).parent
        elsewhere = "set CNNCLI_CACHE" if job["form"] == "litert" else "choose another folder"
        print(json.dumps({"error": f"{place}: {problem.strerror or problem}; free some space, or {elsewhere}"}))
        return 1
    return 0


def _end_with_parent() -> None:
    """Stops as soon as the run that asked for the work is gone: its end of the pipe closes, however it ended."""
    while os.read(0, 1):  # the descriptor itself: a thread that holds Python's stdin would abort the exit
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
