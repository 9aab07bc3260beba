"""`cnncli shapes` as its users meet it: every size and count of the course documents, computed, and the ways to ask."""

from __future__ import annotations

import csv
import io
import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
from test_terminal import COMMAND, on_screen

from cnncli.networks import names


@pytest.fixture
def figures(cnncli):
    """Runs `cnncli shapes ARGS --format json` and returns the object."""

    def run(*args: str | int | Path) -> dict[str, Any]:
        done = cnncli("shapes", *map(str, args), "--format", "json")
        assert done.code == 0, done.err
        return json.loads(done.out)

    return run


@pytest.fixture
def facts(cnncli):
    """Runs `cnncli shapes ARGS` on one layer and returns what it says by its label, lines of a label joined."""

    def run(*args: str | int) -> dict[str, str]:
        done = cnncli("shapes", *map(str, args))
        assert (done.code, done.err) == (0, "")
        found: dict[str, str] = {}
        for what, text in (line.split("\t") for line in done.out.splitlines()):
            found[what] = f"{found[what]}; {text}" if what in found else text
        return found

    return run


# --- sizes that the documents quote -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "output"),
    [
        ("--input 7x7 --kernel 3", [5, 5, 1]),
        ("--input 7x7 --kernel 5", [3, 3, 1]),
        ("--input 7x7 --kernel 3 --pad 1 --filters 5", [7, 7, 5]),
        ("--input 7x7 --kernel 3 --filters 10", [5, 5, 10]),
        ("--input 7x7 --kernel 3 --filters 2", [5, 5, 2]),
        ("--input 7x7 --kernel 5 --pad 2", [7, 7, 1]),
        ("--input 5x5 --kernel 3", [3, 3, 1]),
        ("--input 6x6 --kernel 3", [4, 4, 1]),
        ("--input 6x6 --kernel 4", [3, 3, 1]),
        ("--input 6x6 --kernel 5", [2, 2, 1]),
        ("--input 5x5x3 --kernel 3", [3, 3, 1]),
        ("--input 6x6 --pad 1 --kernel 3", [6, 6, 1]),
        ("--input 6x6 --pad 2 --kernel 3", [8, 8, 1]),
        ("--input 6x6x3 --kernel 3", [4, 4, 1]),
        ("--input 6x6x3 --kernel 3 --filters 2", [4, 4, 2]),
        ("--input 32x32 --kernel 4", [29, 29, 1]),
        ("--input 32x32x3 --kernel 4", [29, 29, 1]),
        ("--input 32x32x3 --kernel 4 --filters 3", [29, 29, 3]),
        ("--input 6x6 --kernel 2 --pool", [3, 3, 1]),
        ("--input 9x9 --kernel 3 --stride 1", [7, 7, 1]),
        ("--input 9x9 --kernel 3 --stride 2", [4, 4, 1]),
        ("--input 9x9 --kernel 3 --stride 3", [3, 3, 1]),
        ("--input 9x9x1 --kernel 3 --filters 2", [7, 7, 2]),
        ("--input 7x7 --kernel 2 --pool --ceil", [4, 4, 1]),
        ("--input 7x7 --kernel 2 --pool", [3, 3, 1]),
        ("--input 4x4 --kernel 2", [3, 3, 1]),
        ("--input 4x4 --kernel 2 --pool", [2, 2, 1]),
        ("--input 6x6 --kernel 2 --pool --stride 2", [3, 3, 1]),
        ("--input 28x28 flatten", [784]),
        ("--input 28x28x3 flatten", [2352]),
        ("--input 400x400x3 flatten", [480_000]),
        ("--input 3560x5360 flatten", [19_081_600]),
        ("--input 3560x5360x3 flatten", [57_244_800]),
        ("--input 3560x5360x3 conv:1:3", [3558, 5358, 1]),
        ("--input 3560x5360x3 conv:1:3 pool:3", [1186, 1786, 1]),
        ("--input 3560x5360x3 --kernel 5", [3556, 5356, 1]),
        ("--input 227x227x3 --kernel 11 --stride 4 --filters 96", [55, 55, 96]),
        ("--input 224x224x3 --kernel 11 --stride 4 --filters 96 --pad 2", [55, 55, 96]),
        ("--input 100 --dims 1 --kernel 3", [98, 1]),
        ("--input 8x9x10 --dims 3 --kernel 3", [6, 7, 8, 1]),
    ],
)
def test_shapes_gives_the_sizes_of_the_documents(arguments: str, output: list[int], figures) -> None:
    assert figures(*arguments.split())["output"] == output


@pytest.mark.parametrize(
    ("arguments", "parameters"),
    [
        ("--input 784 dense:20 dense:10", [15_700, 210]),
        ("--input 1000x1000 flatten dense:5000:nobias", [0, 5_000_000_000]),
        ("--input 1000x1000x3 flatten dense:1000", [0, 3_000_001_000]),
        ("--input 7x7 --kernel 3 --no-bias", [9]),
        ("--input 7x7 --kernel 3 --filters 5 --no-bias", [45]),
        ("--input 7x7 --kernel 3 --filters 5", [50]),
        ("--input 7x7 --kernel 3 --pool", [0]),
        ("--input 10x10 flatten dense:32:nobias", [0, 3200]),
        ("--input 10x10 flatten dense:32", [0, 3232]),
        ("--input 10x10 --kernel 3 --filters 32 --no-bias", [288]),
        ("--input 10x10 --kernel 3 --filters 32", [320]),
        ("--input 32x32 --kernel 4 --filters 3", [51]),
        ("--input 32x32x3 --kernel 4 --filters 3", [147]),
        ("--input 3560x5360x3 --kernel 5", [76]),
        ("--input 3560x5360x3 conv:1:3 pool:3", [28, 0]),
        ("simple", [234, 0, 51_850]),
        ("pyramid", [260, 0, 5_020, 0, 0, 3_210]),
        ("lenet", [456, 0, 2_416, 0, 0, 48_120, 10_164, 850]),
        ("--input 28x28 conv:9:3 flatten dense:10", [90, 0, 60_850]),
        ("course-cifar", [448, 0, 4_640, 0, 18_496, 0, 0, 16_448, 650]),
        ("--input 32x32x3 conv:32:3 conv:32:3 pool:2 conv:64:3 conv:64:3", [896, 9_248, 0, 18_496, 36_928]),
        (
            "alexnet",
            [34_944, 0, 614_656, 0, 885_120, 1_327_488, 884_992, 0, 0, 37_752_832, 0, 16_781_312, 0, 4_097_000],
        ),
        (
            "alexnet-grouped",
            [34_944, 0, 307_456, 0, 885_120, 663_936, 442_624, 0, 0, 37_752_832, 0, 16_781_312, 0, 4_097_000],
        ),
    ],
)
def test_shapes_gives_the_parameter_counts_of_the_documents(arguments: str, parameters: list[int], figures) -> None:
    found = figures(*arguments.split())
    assert [layer["parameters"] for layer in found["layers"]] == parameters
    assert found["parameters"] == sum(parameters)


@pytest.mark.parametrize(
    ("arguments", "total"),
    [
        ("simple", 52_084),
        ("pyramid", 8_490),
        ("lenet", 62_006),
        ("lenet --input 32x32x1", 61_706),
        ("course-cifar", 40_682),
        ("--model alexnet", 62_378_344),
        ("alexnet-grouped", 60_965_224),
        ("--model vgg16", 138_357_544),
        ("vgg19", 143_667_240),
        ("--model resnet50", 25_636_712),
        ("--input 28x28 conv:9:3 flatten dense:10", 60_940),
        ("--input 784 dense:20 dense:10", 15_910),
    ],
)
def test_shapes_totals_are_those_of_keras(arguments: str, total: int, figures) -> None:
    assert figures(*arguments.split())["parameters"] == total


@pytest.mark.parametrize(
    ("name", "outputs"),
    [
        ("simple", ["24x24x9", "5184", "10"]),
        ("pyramid", ["24x24x10", "12x12x10", "8x8x20", "4x4x20", "320", "10"]),
        ("lenet", ["28x28x6", "14x14x6", "10x10x16", "5x5x16", "400", "120", "84", "10"]),
        ("course-cifar", ["30x30x16", "15x15x16", "13x13x32", "6x6x32", "4x4x64", "2x2x64", "256", "64", "10"]),
        (
            "alexnet",
            "55x55x96 27x27x96 27x27x256 13x13x256 13x13x384 13x13x384 13x13x256 6x6x256 9216 "
            "4096 4096 4096 4096 1000".split(),
        ),
    ],
)
def test_shapes_lists_the_feature_maps_of_the_documents(name: str, outputs: list[str], cnncli) -> None:
    rows = list(csv.DictReader(io.StringIO(cnncli("shapes", name, "--format", "csv").out)))
    assert [row["output"] for row in rows] == outputs


def test_shapes_flattens_the_exercise_to_1600_valid_and_4096_same(figures) -> None:
    valid = "conv:32:3 conv:32:3 pool:2 conv:64:3 conv:64:3 pool:2 flatten"
    assert figures("--input", "32x32x3", valid)["output"] == [1600]
    same = re.sub(r"(conv:\d+:3)", r"\1:same", valid)
    assert figures("--input", "32x32x3", same)["output"] == [4096]


def test_shapes_counts_the_macs_of_pyramid_and_lenet(figures) -> None:
    assert figures("pyramid")["macs"] == 467_200
    assert figures("lenet")["macs"] == 651_720


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("pyramid", [5, 6, 14, 16]),
        ("lenet", [5, 6, 14, 16]),
        ("course-cifar", [3, 4, 8, 10, 18, 22]),
        ("alexnet", [11, 19, 51, 67, 99, 131, 163, 195]),
    ],
)
def test_shapes_gives_the_receptive_fields(name: str, fields: list[int], figures) -> None:
    layers = [layer for layer in figures(name)["layers"] if layer["kernel"]]
    assert [layer["receptive_field"] for layer in layers] == [[size, size] for size in fields]


def test_shapes_compares_a_convolution_with_a_dense_layer(cnncli, figures) -> None:
    lines = cnncli("shapes", "--input", "10x10", "--kernel", "3", "--filters", "32", "--compare-dense").out
    assert "convolution\t288 weights, 320 with biases" in lines
    assert "100 * 32 = 3,200 weights, 3,232 with biases: 11.1 times as many" in lines
    (twin,) = figures("--input", "10x10", "conv:32:3", "--compare-dense")["dense"]
    assert (twin["weights"], twin["parameters"]) == (288, 320)
    assert (twin["node_weights"], twin["node_parameters"]) == (3200, 3232)
    assert (twin["map_weights"], twin["map_parameters"]) == (100 * 8 * 8 * 32, 101 * 8 * 8 * 32)


# --- what the documents have wrong, computed, and again on sizes drawn at random ------------------------------------


def test_28_by_28_pixels_are_784_not_754(figures) -> None:
    rng = random.Random(3)
    for height, width in [(28, 28), *((rng.randint(1, 999), rng.randint(1, 999)) for _ in range(5))]:
        assert figures("--input", f"{height}x{width}", "flatten")["output"] == [height * width]
    assert 28 * 28 == 784 != 754


def test_alexnet_on_224_gives_54_and_a_quarter_and_what_would_be_whole(facts) -> None:
    found = facts("--input", "224x224x3", "--kernel", 11, "--stride", 4, "--filters", 96)
    assert found["output"] == "54x54x96"
    assert found["size"].endswith("floor((224 + 0 - 11) / 4 + 1) = floor(54.25) = 54")
    assert found["cut off"] == "54.25 becomes 54, 1 of 224 at the end left out"
    whole = "input 223 (54), input 227 (55), padding 1+2 (55), kernel 8 (55), kernel 12 (54), stride 3 (72)"
    assert found["whole with"] == whole


def test_sizes_that_are_not_whole_are_told_and_each_remedy_works(facts) -> None:
    rng = random.Random(5)
    for _ in range(25):
        size, kernel, stride = rng.randint(20, 300), rng.randint(1, 12), rng.randint(2, 6)
        found = facts("--input", size, "--kernel", kernel, "--stride", stride)
        rest = (size - kernel) % stride
        assert ("whole with" in found) == (rest > 0)
        assert ("left out" in found.get("cut off", "")) == (rest > max(0, stride - kernel))
        for change in filter(None, found.get("whole with", "").split(", ")):
            what, value, output = re.fullmatch(r"(\w+) ([\d+]+) \((\d+)\)", change).groups()  # type: ignore[union-attr]
            options = {"input": size, "kernel": kernel, "stride": stride} | {what.replace("padding", "pad"): value}
            again = facts(*(word for name, v in options.items() for word in (f"--{name}", v)))
            assert again["output"] == f"{output}x{output}x1" and "whole with" not in again


def test_alexnet_layers_2_to_5_are_impossible_without_the_padding_that_the_table_lacks(figures, cnncli) -> None:
    for size, kernel, padding in [(27, 5, 2), (13, 3, 1)]:
        assert figures("--input", size, "--kernel", kernel)["output"][0] == size - kernel + 1 != size
        found = json.loads(
            cnncli(
                "shapes", f"--input={size}", f"--kernel={kernel}", "--stride=1", f"--solve={size}", "--format=json"
            ).out
        )
        assert [one["padding"] for one in found["solutions"]] == [[padding, padding]]
    assert figures("--input", "27x27x96", "conv:256:5:p2")["output"] == [27, 27, 256]


def test_padding_that_keeps_the_size_is_half_of_the_kernel_less_one(figures) -> None:
    rng = random.Random(6)
    for _ in range(20):
        size, kernel = rng.randint(5, 200), 2 * rng.randint(0, 5) + 1
        assert figures("--input", size, "--kernel", kernel, "--pad", (kernel - 1) // 2)["output"][0] == size


def test_the_formula_is_printed_with_its_minus_and_its_floor(facts) -> None:
    rng = random.Random(14)
    for _ in range(20):
        size, kernel, padding, stride = rng.randint(12, 99), rng.randint(1, 9), rng.randint(1, 3), rng.randint(1, 4)
        found = facts("--input", size, "--kernel", kernel, "--pad", padding, "--stride", stride)
        output = (size - kernel + 2 * padding) // stride + 1
        assert found["output"] == f"{output}x{output}x1"
        formula = f"o = floor((n + p - k) / s + 1) = floor(({size} + 2*{padding} - {kernel}) / {stride} + 1)"
        assert found["size"].startswith(formula) and found["size"].endswith(f"= {output}")


def test_only_a_global_pool_or_a_window_over_everything_makes_400x400x3_one_by_one(figures, cnncli) -> None:
    rng = random.Random(21)
    for size in (400, *(rng.randint(30, 999) for _ in range(4))):
        assert figures("--input", f"{size}x{size}x3", "gap")["output"] == [3]
        assert figures("--input", f"{size}x{size}x3", "conv:3:3")["output"] == [size - 2, size - 2, 3]
        found = json.loads(cnncli("shapes", "--input", str(size), "--solve", "1", "--format", "json").out)["solutions"]
        assert [(one["kernel"], one["stride"]) for one in found] == [(size, 1)]


# --- solving ------------------------------------------------------------------------------------------------------


def test_solve_finds_what_gives_55(cnncli) -> None:
    run = cnncli("shapes", "--input", "224x224x3", "--kernel", "11", "--stride", "4", "--solve", "55")
    assert [line.split("\t") for line in run.out.splitlines()] == [
        ["axis", "kernel", "stride", "padding", "exact", "output", "left_out"],
        ["all", "11", "4", "2", "55.25", "55", "0"],
        ["all", "11", "4", "1+2", "55", "55", "0"],
    ]


@pytest.mark.parametrize("mode", [(), ("--transposed",)])
def test_everything_that_solve_finds_gives_the_output(mode: tuple[str, ...], cnncli, figures) -> None:
    rng = random.Random(55)
    for _ in range(6):
        size = rng.randint(10, 120)
        output = rng.randint(1, size) if not mode else rng.randint(size, 4 * size)
        run = cnncli("shapes", "--input", str(size), "--solve", str(output), *mode, "--format", "json")
        if run.code == 0:
            for one in json.loads(run.out)["solutions"][:12]:
                window = [f"--{name}={one[name]}" for name in ("kernel", "stride")]
                ends = "+".join(map(str, one["padding"])) if min(one["padding"]) >= 0 else None
                padding = [f"--pad={ends}"] if ends else ["--padding=same"]
                assert figures("--input", size, *window, *padding, *mode)["output"][0] == output


def test_solve_names_the_axes_where_they_differ_and_says_when_there_is_nothing(cnncli) -> None:
    run = cnncli("shapes", "--input", "100x30", "--kernel", "3", "--solve", "50x10")
    assert {tuple(line.split("\t")[:3]) for line in run.out.splitlines()[1:]} == {
        ("height", "3", "2"),
        ("width", "3", "3"),
    }
    run = cnncli("shapes", "--input", "32", "--solve", "200")
    assert run.code == 1 and "no layer makes 200 of 32; a convolution makes maps smaller: --transposed" in run.err
    run = cnncli("shapes", "--input", "32", "--solve", "30", "--kernel", "5", "--pad", "0")
    assert run.code == 1 and "leave the kernel, stride or padding open" in run.err


# --- refusals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--input 7x7 --kernel 9", "a window of 9 does not fit into 7: the kernel is larger than its input"),
        ("--input 7x7 --kernel 9", "Use a kernel of at most 7 or padding 1 or 'same'"),
        ("--input 8x8 conv:6:5 pool:2 conv:16:5", "layer 3, conv2 (conv:16:5), of 2x2x6: height: a window of 5"),
        ("--input 7x7x4 --kernel 3 --groups 3 --filters 3", "3 groups: expected a number that divides both the 4"),
        ("--input 784 dense:10 conv:3:3", "conv needs a map, like 28x28x1; its input is a vector of 10"),
        ("--input 9x9 --kernel 3 --stride 2 --dilation 2", "Keras computes no convolution with both above 1"),
        ("--model nonesuch", "nonesuch: neither a pretrained network nor a model file"),
    ],
)
def test_shapes_refuses_impossible_layers_with_1(arguments: str, message: str, cnncli) -> None:
    run = cnncli("shapes", *arguments.split())
    assert (run.code, run.out) == (1, "") and message in run.err


ABSURD = ["0", "-1", "1.5", "nan", "inf", "1e9", "x", "3x", "", "9" * 19, "9" * 5000, "0x3", "٣", "3 5", "+3"]


@pytest.mark.parametrize("option", ["--kernel", "--stride", "--dilation", "--filters", "--groups", "--solve"])
@pytest.mark.parametrize("value", ABSURD, ids=lambda value: value[:20] or "empty")
def test_shapes_refuses_absurd_numbers_with_2_and_the_range(option: str, value: str, cnncli) -> None:
    options = {"--input": "7x7", "--kernel": "3", option: value}
    run = cnncli("shapes", *(f"{name}={text}" for name, text in options.items()))
    assert (run.code, run.out) == (2, "")
    assert f"{option} {value!r}"[:40] in run.err.replace("number of filters", "filters") or "expected" in run.err
    assert "from 1 to 10^18" in run.err or "expected numbers like" in run.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "Nothing to work out"),
        ("--input 7x7", "Nothing to work out"),
        ("--kernel 3", "Missing option '--input'"),
        ("--input 7x7 --pad 1", "Missing option '--kernel'"),
        ("conv:3:3", "Missing option '--input'"),
        ("--input 7x7 --kernel 3 conv:3:3", "--kernel describes one layer and cannot be mixed with LAYER 'conv:3:3'"),
        ("--model lenet --stride 2", "--stride describes one layer and cannot be mixed with --model lenet"),
        ("--model lenet conv:3:3", "give one of the two"),
        ("--input 7x7 --kernel 3 --pad 1 --padding same", "--pad and --padding: give one of the two"),
        ("--input 7x7 --kernel 3 --pool --filters 3", "--filters is not for --pool"),
        ("--input 7x7 --kernel 3 --transposed --ceil", "--ceil is not for --transposed"),
        ("--input 7x7 --kernel 3x3x3", "expected one size or 2, found 3; a kernel is always as deep as its input"),
        ("--input 7x7 --kernel 3 --pad -1", "--pad '-1': expected a whole number from 0 to 10^18"),
        ("--input 7x7 conv:3:3 convv:3:3", "layer 2, 'convv:3:3': 'convv' is not a layer. Did you mean conv?"),
        ("--input 7x7 conv:3:3:s0", "stride '0': expected a whole number from 1"),
        ("--input 7x7x1x1 --kernel 3", "input '7x7x1x1' has 4 numbers: expected 2 sizes"),
        ("lenett", "'lenett' is neither a layer nor a network. Did you mean lenet?"),
        ("photo.keras", "A model file is given as --model photo.keras"),
        ("lenet dense:5 --input 32x32", "'lenet' is a whole network: nothing can follow it"),
        ("lenet --input 3x3x3x3", "expected as many as 32x32x3 has; channels may be left out"),
        ("conv:3:3 --classes 5 --input 7x7", "--classes is for a named net"),
        ("--model resnet50 --classes 5", "resnet50 answers with 1000 classes"),
        ("lenet --dims 1", "--dims is not for lenet"),
        ("--input 7 --solve 5 --ceil", "are not for --solve"),
        ("x" * 5000, "is not a layer"),
        ("--model lenet --dims 1", "--dims is not for --model"),
        ("lenet --explain --format csv", "--format csv has one table"),
        ("--input 7x7 --kernel 3 --solve 5x5x5", "--solve 5x5x5: expected one size or 2, found 3"),
    ],
)
def test_shapes_refuses_a_wrong_command_line_with_2(arguments: str, message: str, cnncli) -> None:
    run = cnncli("shapes", *arguments.split())
    assert (run.code, run.out) == (2, "") and message in run.err


def test_shapes_is_exact_with_a_quintillion(figures) -> None:
    size = 10**18
    found = figures("--input", f"{size}x{size}x3", "--kernel", 3, "--filters", size)
    assert found["output"] == [size - 2, size - 2, size]
    assert found["parameters"] == 28 * size
    assert found["macs"] == (size - 2) ** 2 * 27 * size


# --- forms of the answer ------------------------------------------------------------------------------------------


def test_shapes_json_has_the_fields_of_schema_1(figures) -> None:
    found = figures("--input", "9x8x3", "conv:4:3x2:s2:same:g1", "tconv:2:2:s2", "--explain")
    assert (found["schema"], found["input"], found["output"]) == (1, [9, 8, 3], [10, 8, 2])
    first, second = found["layers"]
    assert (first["kernel"], first["stride"], first["padding"]) == ([3, 2], [2, 2], [[1, 1], [0, 0]])
    assert (first["weights"], first["biases"], first["inputs"]) == (72, 4, ["input"])
    assert (second["jump"], second["receptive_field"]) == ([1, 1], [3, 2])
    assert "parameters: 2 * 2 * 4 * 2 weights + 2 biases = 34" in second["explanation"]


def test_shapes_says_which_parameters_are_not_trained(figures) -> None:
    found = figures("--input", "8x8x3", "conv:4:3 bn gap dense:2")
    assert found["parameters"] - found["trainable"] == 8
    assert [layer["statistics"] for layer in found["layers"]] == [0, 8, 0, 0]


def test_shapes_csv_markdown_and_pipe_hold_the_same_rows(cnncli) -> None:
    rows = list(csv.reader(io.StringIO(cnncli("shapes", "lenet", "--format", "csv").out)))
    piped = [line.split("\t") for line in cnncli("shapes", "lenet").out.splitlines()]
    marked = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in cnncli("shapes", "lenet", "--format", "markdown").out.splitlines()
    ]
    assert piped[:-1] == rows and marked[0] == rows[0] and marked[2:-1] == rows[1:]
    assert piped[-1] == marked[-1] and piped[-1][0] == "total" and piped[-1][7] == "62006"
    assert rows[1][:8] == ["conv1", "conv:6:5:relu", "input", "28x28x6", "5", "1", "0", "456"]


def test_shapes_explain_adds_the_arithmetic_of_every_layer(cnncli) -> None:
    out = cnncli("shapes", "lenet", "--explain").out
    assert "conv2, conv:16:5:relu\n  output:       10x10x16\n" in out
    assert "  MACs:         10 * 10 * 2,400 weights = 240,000\n" in out
    assert "  size:         5 * 5 * 16 = 400\n" in out
    assert "  field:        the whole input\n" in out


def test_shapes_says_what_rounding_leaves_out_in_a_network(cnncli, figures) -> None:
    run = cnncli("shapes", "course-cifar")
    assert run.err == "pool2: 6.5 becomes 6, 1 of 13 at the end left out\n"
    assert cnncli("shapes", "course-cifar", "--quiet").err == ""
    assert figures("course-cifar")["layers"][3]["notes"] == ["6.5 becomes 6, 1 of 13 at the end left out"]
    assert "dense works on the channels of each of 28x28 places" in cnncli("shapes", "--input=28x28", "dense:10").err


def test_shapes_explains_same_dilation_and_a_transposed_convolution(facts) -> None:
    found = facts("--input", "7x8", "--kernel", 3, "--stride", 2, "--padding", "same")
    assert found["height"].endswith("p = (o - 1) * s + k - n = (4 - 1) * 2 + 3 - 7 = 2 = 1 + 1")
    assert found["width"].endswith("= 1 = 0 + 1")
    found = facts("--input", "9", "--kernel", 3, "--dilation", 3)
    assert found["size"].startswith("e = d * (k - 1) + 1 = 3 * (3 - 1) + 1 = 7; o = floor((n + p - e)")
    found = facts("--input", "5", "--kernel", 3, "--stride", 2, "--transposed", "--pad", 1)
    assert found["size"] == "o = (n - 1) * s + k - p = (5 - 1) * 2 + 3 - 2*1 = 9"
    assert found["field"] == "2x2 of the input, jump 1/2"


@pytest.mark.parametrize("name", names())
def test_every_named_network_is_worked_out(name: str, figures) -> None:
    assert figures(name)["name"] == name and figures("--model", name)["layers"]


def test_a_named_net_takes_another_input_and_other_classes(figures) -> None:
    found = figures("lenet", "--input", "28x28", "--classes", 100)
    assert (found["input"], found["output"]) == ([28, 28, 3], [100])
    assert figures("pyramid", "--input", "28x30x3")["input"] == [28, 30, 3]
    assert figures("--model", "resnet50", "--input", "320")["layers"][-3]["output"] == [10, 10, 2048]


def test_shapes_reads_a_model_file_as_its_owner_sees_it(flat_model, figures, cnncli, tmp_path) -> None:
    found = figures("--model", flat_model)
    assert [layer["layer"] for layer in found["layers"]] == ["rescale", "gap", "dense:3:softmax"]
    assert (found["input"], found["parameters"]) == ([32, 32, 3], 12)
    (tmp_path / "broken.keras").write_bytes(b"PK\x03\x04" + bytes(40))
    run = cnncli("shapes", "--model", tmp_path / "broken.keras")
    assert run.code == 1 and "not a complete Keras model" in run.err
    run = cnncli("shapes", "--model", flat_model, "--input", "9x9x1")
    assert run.code == 1 and "the model takes 3 channels, --input gives 1" in run.err


@pytest.mark.parametrize("columns", [80, 60, 40])
@pytest.mark.parametrize("name", ["lenet", "alexnet", "vgg16", "resnet50", "nasnetmobile", "densenet121"])
def test_table_fits_the_terminal_and_keeps_every_parameter_count(columns: int, name: str, figures) -> None:
    screen = on_screen([*COMMAND, "shapes", name, "--quiet"], columns=columns)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", screen)
    assert max(len(line.rstrip()) for line in plain.splitlines()) <= columns and "…" not in plain
    found = figures(name)
    words = plain.split()
    assert all(f"{layer['parameters']:,}" in words for layer in found["layers"])
    assert f"{found['parameters']:,}" in words


def test_card_of_one_layer_fits_the_terminal() -> None:
    screen = on_screen(
        [*COMMAND, "shapes", "--input=224x224x3", "--kernel=11", "--stride=4", "--compare-dense"], columns=80
    )
    lines = re.sub(r"\x1b\[[0-9;]*m", "", screen).splitlines()
    assert max(map(len, lines)) <= 80 and lines[0] == "output:       54x54x1"
    assert "size:         o = floor((n + p - k) / s + 1) = floor((224 + 0 - 11) / 4 + 1) =" in lines
