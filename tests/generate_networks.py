"""Writes `cnncli/data/networks/NAME.tsv`, the layer tables of the pretrained networks, from Keras Applications.

Run it as `python tests/generate_networks.py` after a change of `cnncli.backbones` or of Keras; `test_networks.py`
compares what it wrote with Keras.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cnncli import kerasgraph
from cnncli.backbones import BACKBONES, Backbone
from cnncli.grammar import token
from cnncli.networks import Network


def keras_network(row: Backbone) -> Any:
    """The network of `row` as Keras builds it, without weights."""
    from cnncli.learning import keras

    width = {} if row.alpha is None else {"alpha": row.alpha}
    shape = (row.input_px, row.input_px, 3)
    keras.backend.clear_session()  # so that the names it gives by itself are counted from the beginning
    with keras.src.backend.StatelessScope(initialize_variables=False):
        return getattr(keras.applications, row.function)(weights=None, input_shape=shape, **width)


def table(network: Network) -> str:
    """`network` as `cnncli.networks.from_table` reads it."""
    lines = []
    for index, node in enumerate(network.nodes):
        before = [network.nodes[number].name for number in node.inputs]
        inputs = [] if node.inputs in ((), (index - 1,)) else [",".join(before)]
        lines.append("\t".join([node.name, token(node.layer), *inputs]))
    return "\n".join(lines) + "\n"


def main() -> None:
    folder = Path(__file__).parent.parent / "cnncli" / "data" / "networks"
    for row in BACKBONES.values():
        config = json.loads(keras_network(row).to_json())
        (folder / f"{row.name}.tsv").write_text(table(kerasgraph.network(config, row.name)), encoding="utf-8")
        print(row.name)


if __name__ == "__main__":
    main()
