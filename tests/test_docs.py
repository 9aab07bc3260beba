"""What the README and the help pages say is true: their commands are run and their output compared."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from pathlib import Path

import click
import pytest
from test_terminal import on_screen

from cnncli.backbones import BACKBONES
from cnncli.cli import COMMANDS, cli

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
TRANSCRIPTS = re.findall(r"^\$ cnncli (.+)\n((?:[^`].*\n)*)", README, re.MULTILINE)
SCORES = re.compile(r"(0\.\d+)|([\d.]+)%")
EXAMPLES = re.findall(r"^cnncli (.+)$", README, re.MULTILINE)


def commands() -> dict[str, click.Command]:
    """Every command and subcommand by its words: `models list`."""
    found: dict[str, click.Command] = {}
    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        found[name] = command
        if isinstance(command, click.Group):
            context = click.Context(command)
            for sub in command.list_commands(context):
                subcommand = command.get_command(context, sub)
                assert subcommand is not None
                found[f"{name} {sub}"] = subcommand
    return found


@pytest.mark.parametrize("name", commands())
def test_help_has_one_sentence_and_examples_that_parse(name: str) -> None:
    text = commands()[name].help or ""
    assert re.match(r"[A-Z][^.]+\.", text) and "Example:" in text
    examples = re.findall(r"^\s*(?:\S.*\| )?cnncli (.+?)(?: > \S+)?$", text.split("Example:")[1], re.MULTILINE)
    assert examples and all(example.startswith(name) for example in examples)
    for example in examples:
        words = shlex.split(example)[len(name.split()) :]
        if not isinstance(commands()[name], click.Group):
            commands()[name].make_context(name, words)  # raises for an option that does not exist


def test_every_option_has_a_help_text() -> None:
    options = [
        option for command in commands().values() for option in command.params if isinstance(option, click.Option)
    ]
    assert len(options) > 30
    assert [option.name for option in options if not option.help] == []


def test_readme_begins_with_the_two_commands_that_do_everything() -> None:
    first, second = re.findall(r"```sh\n(.+)\n```", README)[:2]
    assert "pip install" in first and first.endswith("cnncli predict sample_images/cat.jpg")
    ci = (ROOT / ".ci" / "run").read_text()
    assert "pip install" in second and second.split(".venv/bin/")[-1] in ci


def test_readme_examples_name_commands_and_options_that_exist() -> None:
    assert EXAMPLES
    for example in EXAMPLES:
        words = shlex.split(example)
        name = next(name for name in sorted(commands(), key=len, reverse=True) if example.startswith(name))
        commands()[name].make_context(name, words[len(name.split()) :])


def test_readme_speaks_of_every_command_and_network() -> None:
    for name in commands():
        assert f"cnncli {name}" in README
    assert len(BACKBONES) == 18 and "eighteen pretrained networks" in README


@pytest.mark.realdata
@pytest.mark.parametrize(("command", "expected"), TRANSCRIPTS, ids=[command[:60] for command, _ in TRANSCRIPTS])
def test_readme_transcript_is_what_the_command_prints(
    command: str, expected: str, own_caches, process, monkeypatch
) -> None:
    models = own_caches / "keras" / "models"
    models.mkdir(parents=True)
    shutil.copy(Path(os.environ["CNNCLI_TEST_DATA"], "weights", "mobilenet_7_5_224_tf.h5"), models)
    monkeypatch.chdir(ROOT)
    assert process("models", "pull", "mobilenet-0.75").code == 0
    screen = on_screen(
        [sys.executable, "-m", "cnncli", *shlex.split(command)], columns=200 if "json" in command else 80
    )
    plain = re.sub(r"\x1b\[[0-9;]*m", "", screen)
    assert text_of(plain) == text_of(expected)
    assert numbers_of(plain) == pytest.approx(numbers_of(expected), abs=0.11)  # tenths of a percent


def text_of(output: str) -> list[str]:
    """The words of an output, without the digits and bars that differ from processor to processor."""
    return [" ".join(re.sub(r"0\.\d+|[\d.]+%|[█▉▊▋▌▍▎▏]", "", line).split()) for line in output.splitlines()]


def numbers_of(output: str) -> list[float]:
    """Its scores in percent."""
    return [100 * float(score) if score else float(percent) for score, percent in SCORES.findall(output)]


def test_repository_holds_only_the_agreed_entries_and_no_machine_paths() -> None:
    top = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")}
    assert {"pyproject.toml", "README.md", "LICENSE", "cnncli", "tests", "sample_images"} <= top
    text = [path for folder in ("cnncli", "tests", "sample_images") for path in (ROOT / folder).rglob("*.*")]
    for path in text:
        if path.suffix in (".py", ".md", ".tsv"):
            assert not re.search(r"/home/\w|/root/|/Users/\w", path.read_text(encoding="utf-8").replace(r"/root/|", ""))
