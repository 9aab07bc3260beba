"""A whole training run: from DATA and settings to a run folder with a network that predicts."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from cnncli import balance, curves, history, interruption, runs
from cnncli.backbones import InputSpec
from cnncli.datasets.fingerprint import duplicates, fingerprint
from cnncli.datasets.layout import listed
from cnncli.datasets.pixels import Failure
from cnncli.errors import DataError, TerminatedError, TrainingError
from cnncli.inference.locate import describe
from cnncli.learning.checkpoints import Array, Checkpoint, Checkpoints, assign
from cnncli.learning.job import Job, Tellers, network_for, threads_for, with_network
from cnncli.learning.models import save_carded, versions
from cnncli.learning.networks import float32_twin, measured, with_probabilities
from cnncli.learning.phases import FromScratch, Transfer, layers_of, with_net
from cnncli.learning.prepared import Prepared, prepare
from cnncli.learning.starting import is_for, model_file
from cnncli.learning.steps import Evaluation, Threads
from cnncli.learning.tensorboard import Board
from cnncli.learning.training import Phase, Places, Progress, Training, evaluate
from cnncli.modelcard import ModelCard
from cnncli.modelfile import read_card
from cnncli.runs import Run, Seen
from cnncli.settings import Settings
from cnncli.text import printable

EXAMPLES = 4  # images whose feature maps TensorBoard shows
_COPIES = 3  # of the weights, at the least: in the model, and two in a checkpoint


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run ended with."""

    best_epoch: int | None
    epochs: int
    val_accuracy: float | None
    num_val: int
    test_accuracy: float | None
    num_test: int
    failures: tuple[Failure, ...] = field(default=())


def train(job: Job, tellers: Tellers) -> Outcome:
    """Trains from the beginning, in a run that the caller has begun. Raises CnncliError and what stops a run."""
    return _Session(job, tellers).begin()


def resume(job: Job, tellers: Tellers) -> Outcome:
    """Goes on from the last checkpoint of a run that the caller holds; `job.settings` are those of `run.json`."""
    return _Session(job, tellers).go_on()


class _Session:
    """One process's work on a run."""

    def __init__(self, job: Job, tellers: Tellers) -> None:
        self._job, self._run, self._tellers = job, job.run, tellers
        self._checkpoints = Checkpoints(job.run.state)
        self._settings = job.settings  # with the network, once that is decided
        self._began = time.time()
        self._stop = interruption.Stop()  # nothing is deferred before training begins

    def begin(self) -> Outcome:
        # The model that it starts from is refused before anything slow begins.
        start = None if self._settings.start_from is None else model_file(Path(self._settings.start_from))
        if start is not None and start.resolve() == self._run.model.resolve():
            raise TrainingError(
                f"--start-from {self._settings.start_from}: the run in --output is the one that would be replaced; "
                "give another --output"
            )
        prepared = self._prepare(None)
        earlier = () if start is None else self._earlier(start, prepared)
        self._settings = with_network(self._settings, prepared.spec, len(prepared.classes), self._tellers.notify)
        spread = threads_for(self._settings, len(prepared.classes), self._job.cores)
        images = Counter(row.split for row in prepared.seen)
        counts = ", ".join(f"{images[split]:,} {split}" for split in ("train", "val", "test") if images[split])
        self._tellers.notify(f"Images: {counts}")
        self._tellers.notify(f"Classes: {len(prepared.classes)}: {listed([c.label for c in prepared.classes])}")
        record = {
            "command": list(self._job.command),
            "data": {"path": self._job.data, "fingerprint": fingerprint(prepared.classes, prepared.pixels)},
            "settings": self._settings.to_json(),
            "input": asdict(prepared.spec),
            "classes": [c.id for c in prepared.classes],
            "images": dict(images),
            "licence": _licence(self._settings),
            "threads": {"parts": spread.parts, "each": spread.each},
            "versions": versions(),
            "status": "running",
            "started": _time_text(self._began),
            "seconds": 0.0,
        }
        network = self._network(prepared, spread)
        if network.recipe.class_weights is not None:
            self._tellers.notify(f"Class weights: {balance.told(network.recipe.class_weights, prepared.classes)}")
        self._require_space(network.complete.count_params())
        self._clear()
        with _written(self._run.folder):
            self._run.write_data(prepared.seen, earlier)
            self._run.write_record(record)
        return self._train(prepared, record, network, spread, None)

    def _require_space(self, parameters: int) -> None:
        """Raises TrainingError where the disk cannot hold the run: better now than when everything is learned."""
        free, needed = shutil.disk_usage(self._run.folder).free, 4 * _COPIES * parameters
        if free < needed:
            raise TrainingError(
                f"{self._run.folder}: the disk has {free / 1e6:.1f} MB free, and this run needs {needed / 1e6:.1f} MB; "
                "free some space, or give another --output"
            )

    def go_on(self) -> Outcome:
        record = self._run.read_record()
        if record.get("status") == "done":
            self._tellers.notify(
                f"{self._run.folder}: this run is finished already; for more epochs train anew, with "
                f"--start-from {self._run.folder}"
            )
        checkpoint = self._checkpoints.latest(self._tellers.notify)
        if checkpoint is None:
            self._tellers.notify(f"{self._run.folder}: no checkpoint yet; starting from the beginning")
        prepared = self._prepare(InputSpec(**record["input"]))
        before = self._run.read_data()
        if changed := runs.changes(before, prepared.seen):
            lines = "".join(f"\n  {line}" for line in changed)
            raise TrainingError(
                f"{self._job.data}: not the images that the run in {self._run.folder} began with; put them back, or "
                f"train anew.{lines}"
            )
        prepared = prepared.ordered_as(before)
        record = record | {"data": {**record["data"], "path": self._job.data}}  # they may have moved
        if checkpoint is None:
            self._run.history.unlink(missing_ok=True)  # of epochs that are lost
        else:  # what the run began with is in it no more
            self._settings = replace(self._settings, start_from=None)
        spread = Threads(**record["threads"])
        return self._train(prepared, record, self._network(prepared, spread), spread, checkpoint)

    def _earlier(self, start: Path, prepared: Prepared) -> tuple[Seen, ...]:
        """The images that the weights in `start` were learned from, as far as that is known; says what follows."""
        last = "" if is_for(read_card(start), prepared.classes) else "; the last layer, for other classes, begins anew"
        self._tellers.notify(f"Weights: those of {start}{last}")
        known = Run(start.parent).learned_from() if start.name == "model.keras" else None
        learned = {row.sha256 for row in known or ()}
        if again := sum(row.split != "train" and row.sha256 in learned for row in prepared.seen):
            self._tellers.notify(f"{again} images to validate or test with are among those that these weights know")
        return known or ()

    def _network(self, prepared: Prepared, spread: Threads) -> FromScratch | Transfer:
        spread.apply()  # before TensorFlow computes anything
        tellers = replace(self._tellers, meter=self._meter)
        return network_for(replace(self._job, settings=self._settings), prepared, spread, tellers)

    @contextlib.contextmanager
    def _meter(self, description: str) -> Iterator[Callable[[int, int | None], None]]:
        """A progress bar for work that may take long, and ends where the user wants the run to end."""
        with self._tellers.meter(description) as progress:

            def update(done: int, total: int | None) -> None:
                self._stop.raise_again()
                progress(done, total)

            yield update

    def _clear(self) -> None:
        """Removes what an earlier run left, but its model, which stays until there is a better one."""
        self._checkpoints.clear()
        shutil.rmtree(self._run.board, ignore_errors=True)
        for path in self._run.texts:
            path.unlink(missing_ok=True)

    def _prepare(self, spec: InputSpec | None) -> Prepared:
        job, tellers = self._job, self._tellers
        prepared = prepare(
            self._settings,
            job.dataset,
            spec=spec,
            check=self._check,
            workers=job.cores,
            notify=tellers.notify,
            meter=tellers.meter,
        )
        for failure in prepared.failures:
            tellers.fail(f"{printable(failure.name)}: {failure.reason}")
        if shared := sum(found.across_splits for found in duplicates(prepared.pixels)):
            tellers.notify(
                f"{shared} images are in more than one split: scores on them say little ('cnncli data check')"
            )
        if prepared.failures and job.strict:
            raise DataError(f"{len(prepared.failures)} images cannot be read, and --strict was given")
        return prepared

    def _check(self, spec: InputSpec, classes: int) -> None:
        """Raises ShapeError for layers that the images are too small for."""
        if net := with_net(self._settings, spec).net:
            measured(layers_of(net, classes, self._settings.dropout), spec)

    def _train(
        self,
        prepared: Prepared,
        record: dict[str, Any],
        network: FromScratch | Transfer,
        spread: Threads,
        checkpoint: Checkpoint | None,
    ) -> Outcome:
        self._prepared, self._record = prepared, record
        self._seconds_before = float(record["seconds"])
        self._complete = with_probabilities(float32_twin(network.complete))  # training goes on meanwhile
        with contextlib.closing(Board(self._run.board)) as board, interruption.deferred() as self._stop:
            self._board, self._board_works = board, True
            board.begin(network.complete, {"data": self._job.data, **self._settings.to_json()})
            places = Places(self._checkpoints, self._tellers.monitor, self._stop, self._save_best, self._epoch_done)
            training = Training(
                network.phase,
                places,
                total_epochs=self._settings.total_epochs,
                seed=self._settings.seed,
                batch_size=self._settings.batch_size,
                parts=spread.parts,
                average=self._settings.ema,
                patience=self._settings.patience,
                checkpoint_every_s=self._job.checkpoint_every_s,
            )
            with self._status():
                training.run(checkpoint)
                outcome = self._finish(training, network.complete, spread)
            self._stop.raise_again()
        return outcome

    @contextlib.contextmanager
    def _status(self) -> Iterator[None]:
        """Records how the run ended, however it ends."""
        status = "failed"
        try:
            yield
            status = "done"
        except (KeyboardInterrupt, TerminatedError):
            status = "interrupted"
            raise
        finally:
            seconds = self._seconds_before + time.time() - self._began
            with contextlib.suppress(OSError):
                self._run.write_record(self._record | {"status": status, "seconds": seconds})

    def _epoch_done(self, phase: Phase, progress: Progress) -> None:
        history.write(progress.history, self._run.history)
        if self._board_works:
            try:
                self._board.epoch(progress.history[-1], self._whole(phase), self._prepared.sample(EXAMPLES))
            except TrainingError as problem:
                self._board_works = False
                self._tellers.notify(f"{problem}; training goes on without it")

    def _whole(self, phase: Phase) -> Any:
        """The network from pixels to probabilities, as it is after the epoch."""
        assign(self._complete.weights, phase.publish())
        return self._complete

    def _save_best(self, best: list[Array], progress: Progress) -> None:
        """Writes the network with these weights as the run's model."""
        row = progress.history[(progress.best_epoch or 1) - 1]
        metrics = {} if row.val_accuracy is None else {"val_accuracy": row.val_accuracy}
        self._write_model(best, metrics)

    def _finish(self, training: Training, logits: Any, spread: Threads) -> Outcome:
        """Scores the test split once, with the best weights, and writes what is left to write."""
        prepared, progress = self._prepared, training.progress
        best_row = None if progress.best_epoch is None else progress.history[progress.best_epoch - 1]
        assert training.best is not None
        assign(logits.weights, training.best)
        network = Evaluation(logits, parts=spread.parts)
        test = (
            None if prepared.test is None else evaluate(network, prepared.test, lambda done: self._stop.raise_again())
        )
        metrics = {
            "val_accuracy": None if best_row is None else best_row.val_accuracy,
            "test_accuracy": None if test is None else test[1],
            "test_loss": None if test is None else test[0],
        }
        known = {name: value for name, value in metrics.items() if value is not None}
        self._write_model(training.best, known)
        self._record["results"] = {**known, "best_epoch": progress.best_epoch, "epochs": len(progress.history)}
        title = f"{self._run.folder.resolve().name}: {self._settings.net or self._settings.backbone}"
        history.write(progress.history, self._run.history)
        curves.draw(progress.history, self._run.curves, title=title, best_epoch=progress.best_epoch)
        return Outcome(
            progress.best_epoch,
            len(progress.history),
            metrics["val_accuracy"],
            0 if prepared.val is None else len(prepared.val.rows),
            metrics["test_accuracy"],
            0 if prepared.test is None else len(prepared.test.rows),
            prepared.failures,
        )

    def _write_model(self, best: list[Array], metrics: dict[str, float]) -> None:
        assign(self._complete.weights, best)
        card = ModelCard(
            name=self._run.folder.resolve().name,
            classes=self._prepared.classes,
            input=self._prepared.spec,
            licence=self._record.get("licence"),
            description=f"{self._settings.net or self._settings.backbone}, trained on {Path(self._job.data).name}",
            data_fingerprint=self._record["data"]["fingerprint"],
            metrics=metrics,
            versions=versions(),
        )
        with _written(self._run.model):
            save_carded(self._complete, card, self._run.model)


def _licence(settings: Settings) -> str | None:
    """That of the weights that a network begins with, if somebody else's come into the model."""
    if settings.start_from is not None:
        return read_card(model_file(Path(settings.start_from))).licence
    if settings.backbone is None or settings.from_scratch:
        return None
    return f"the weights of {settings.backbone}: {describe(settings.backbone)[0].licence}"


@contextlib.contextmanager
def _written(path: Path) -> Iterator[None]:
    """Says which file could not be written: the system does not, where a disk is full."""
    try:
        yield
    except OSError as problem:
        kept = "; what was there is kept" if path.is_file() else ""
        raise TrainingError(f"{path}: cannot be written ({problem.strerror or problem}){kept}") from problem


def _time_text(seconds: float) -> str:
    """UTC, ISO 8601."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
