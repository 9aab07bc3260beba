"""Evaluations of made-up models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cnncli.backbones import ImageClass, InputSpec
from cnncli.datasets.dataset import Example
from cnncli.evaluation.evaluation import Answer, Columns, Evaluation
from cnncli.evaluation.matching import match
from cnncli.inference.pipeline import best


def evaluation(
    names: Sequence[str] = ("cat", "dog", "owl"),
    *,
    images: int = 200,
    skill: float = 2.0,
    seed: int = 0,
    **more: object,
) -> Evaluation:
    """A model with random scores that prefer the true class by `skill`; ids are `n0`, `n1`, ..."""
    rng = np.random.default_rng(seed)
    size = len(names)
    classes = tuple(ImageClass(f"n{index}", name) for index, name in enumerate(names))
    truth = (np.arange(images) % size).astype(np.int32)
    logits = rng.normal(size=(images, size))
    logits[np.arange(images), truth] += skill
    scores = np.exp(logits - logits.max(axis=1, keepdims=True)).astype(np.float32)
    scores /= scores.sum(axis=1, keepdims=True)
    order = np.argsort(-scores, axis=1, kind="stable")
    rank = (np.argmax(order == truth[:, None], axis=1) + 1).astype(np.int32)
    rows = np.arange(images)
    examples = tuple(Example(f"photos/{names[label]}/{row}.png", int(label)) for row, label in enumerate(truth))
    wrong = sorted(np.flatnonzero(rank > 1).tolist(), key=lambda row: -scores[row].max())
    made = Evaluation(
        model="runs/one",
        data="photos",
        split="test",
        classes=classes,
        input=InputSpec(32, 32),
        top=min(3, size),
        only_present=False,
        matches=match(classes, classes),
        left_out=0,
        examples=examples,
        columns=Columns(rows, truth, order[:, 0].astype(np.int32), scores.max(axis=1), rank, scores[rows, truth]),
        failures=(),
        mistakes=tuple(
            Answer(
                examples[row],
                int(truth[row]),
                int(rank[row]),
                float(scores[row, truth[row]]),
                best(scores[row], classes, 3),
            )
            for row in wrong[:24]
        ),
        seen_in_training=0,
        seconds=12.5,
    )
    return replace(made, **more)  # type: ignore[arg-type]
