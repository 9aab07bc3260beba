"""The state of a run on disk: everything that going on needs, in one file that is whole or not there."""

from __future__ import annotations

import contextlib
import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cnncli.errors import TrainingError
from cnncli.files import replacing

KEPT = 2  # so that a damaged one can be stepped over

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Counters and history as JSON values, and named lists of arrays: weights, optimizer, averages, best weights."""

    values: dict[str, Any]
    arrays: dict[str, list[Array]]


class Checkpoints:
    """The last two checkpoints in a folder, numbered."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, checkpoint: Checkpoint) -> None:
        """Writes a checkpoint atomically and removes all but the last two. Raises TrainingError."""
        numbers = self._numbers()
        path = self._path(numbers[-1] + 1 if numbers else 1)
        members = {"values": np.frombuffer(json.dumps(checkpoint.values).encode(), np.uint8)}
        for group, arrays in checkpoint.arrays.items():
            members |= {f"{group}.{index}": array for index, array in enumerate(arrays)}
        try:
            with replacing(path) as file:
                np.savez(file, allow_pickle=False, **members)
        except OSError as problem:
            why = problem.strerror or problem
            raise TrainingError(
                f"{path}: cannot be written ({why}); the run can go on from the one before"
            ) from problem
        for number in numbers[: 1 - KEPT]:
            self._path(number).unlink(missing_ok=True)

    def latest(self, notify: Callable[[str], None]) -> Checkpoint | None:
        """The newest checkpoint that is whole; None if there is none. Says which were damaged.

        Raises TrainingError if there are some and all are damaged.
        """
        numbers = self._numbers()
        for number in reversed(numbers):
            try:
                return _load(self._path(number))
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, RuntimeError) as problem:
                notify(f"{self._path(number)}: damaged ({problem}); going back to the one before")
        if numbers:
            raise TrainingError(f"{self._folder}: every checkpoint is damaged; start again without --resume")
        return None

    def clear(self) -> None:
        """Removes every checkpoint."""
        for number in self._numbers():
            self._path(number).unlink(missing_ok=True)

    def _numbers(self) -> list[int]:
        found = []
        for path in self._folder.glob("checkpoint-*.npz"):
            with contextlib.suppress(ValueError):
                found.append(int(path.stem.removeprefix("checkpoint-")))
        return sorted(found)

    def _path(self, number: int) -> Path:
        return self._folder / f"checkpoint-{number:06}.npz"


def _load(path: Path) -> Checkpoint:
    with np.load(path, allow_pickle=False) as members:
        values = json.loads(members["values"].tobytes())
        groups: dict[str, dict[int, Array]] = {}
        for name in members.files:
            group, dot, index = name.rpartition(".")
            if dot:
                groups.setdefault(group, {})[int(index)] = members[name]
    return Checkpoint(values, {group: [arrays[i] for i in range(len(arrays))] for group, arrays in groups.items()})


def values_of(variables: Sequence[Any]) -> list[Array]:
    """Copies of the values of Keras or TensorFlow variables."""
    return [np.array(variable.numpy()) for variable in variables]


def assign(variables: Sequence[Any], values: Sequence[Array]) -> None:
    """Gives variables the values that `values_of` copied. Raises TrainingError if they are of another network."""
    shapes = [tuple(variable.shape) for variable in variables]
    if shapes != [value.shape for value in values]:
        raise TrainingError("the checkpoint is of another network; start again without --resume")
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
