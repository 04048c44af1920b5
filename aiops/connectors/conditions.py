"""A table of what is known of each node, as a placement is solved for at a moment."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import csv, parquet

from aiops.errors import FileError
from aiops.fleet.inventory import Inventory
from aiops.placement.conditions import PLAUSIBLE, Conditions

FLAGS = ("cordoned", "silent")


def read_conditions(path: str | Path, inventory: Inventory) -> Conditions:
    """Read the conditions of the nodes of `inventory` from a ``.csv`` or ``.parquet`` table.

    It has a row for each node of which something is known: ``node``, and any of the columns
    `Conditions` names. What is empty or absent is not known.

    Raises
    ------
    FileError
        The file cannot be read, has another column, names a node twice or one that is not in the
        inventory, or holds what is no number.
    """
    path = Path(path)
    try:
        if path.suffix == ".csv":
            table = csv.read_csv(path)
        elif path.suffix == ".parquet":
            table = parquet.read_table(path)
        else:
            raise FileError(f"state {path}: name it .csv or .parquet")
    except (OSError, pa.ArrowInvalid) as error:
        raise FileError(f"state {path}: {error}") from error
    table = table.rename_columns([name.strip() for name in table.column_names])
    if twins := sorted({n for n in table.column_names if table.column_names.count(n) > 1}):
        raise FileError(f"state {path} has more than one column {', '.join(twins)}")
    known = ("node", *PLAUSIBLE, *FLAGS)
    if stray := sorted(set(table.column_names) - set(known)):
        raise FileError(f"state {path} has {', '.join(stray)}; it may have {', '.join(known)}")
    if "node" not in table.column_names:
        raise FileError(f"state {path} has no column 'node'")
    names = [str(name) for name in table.column("node").to_pylist()]
    at = {node.id: i for i, node in enumerate(inventory.nodes)}
    for name in names:
        if name not in at:
            some = ", ".join(list(at)[:4])
            raise FileError(f"state {path}: {name!r} is no node; there are {some} and so on")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise FileError(f"state {path} names {twice!r} twice; give one row a node")
    rows = np.array([at[name] for name in names], dtype=np.intp)
    blank = Conditions.unknown(len(inventory.nodes))
    told: dict[str, Any] = {}
    for name in table.column_names:
        if name == "node":
            continue
        kind = pa.bool_() if name in FLAGS else pa.float64()
        try:
            column = table.column(name).cast(kind)
        except pa.ArrowInvalid as error:
            raise FileError(f"state {path}, column {name}: {error}") from error
        values = getattr(blank, name).copy()
        values[rows] = column.fill_null(False if name in FLAGS else float("nan")).to_numpy()
        told[name] = values
    return replace(blank, **told)
