"""Numbers for a person and for a file, and the data that a model's card names."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from syncdraw.datasets import open_dataset
from syncdraw.datasets.bouncing_mnist import BouncingMNISTConfig
from syncdraw.datasets.clips import Dataset
from syncdraw.errors import UserError
from syncdraw.files import atomic_path
from syncdraw.reading import read_settings

Split = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class Report:
    """Numbers, as text for a person and as values for a JSON file."""

    text: str
    values: dict[str, Any]

    def publish(self, json_file: Path | None = None) -> None:
        """Print the text, and write the values to a file where one is named."""
        print(self.text)
        if json_file is not None:
            with atomic_path(json_file) as path:
                path.write_text(json.dumps(self.values, indent=1) + "\n")
            print(f"wrote {json_file}")


def data_of(card: dict[str, Any], data: str | None, split: Split, **changes: Any) -> Dataset:
    """The data set that a model's card names, or another."""
    if data is None and "data" not in card:
        raise UserError("this model's config.json does not say what it was trained on; name it with --data")
    bouncing = read_settings(BouncingMNISTConfig, {**card.get("bouncing", {}), **changes}, "config.json, bouncing")
    return open_dataset(data or card["data"], bouncing, split)
