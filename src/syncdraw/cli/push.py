"""syncdraw push."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from syncdraw.cli.options import Model


def push(
    model: Model, name: str, /, *, license: str,
    measured: Annotated[list[Path] | None, Parameter(negative=())] = None, private: bool = False,
) -> None:  # fmt: skip
    """Put a model on the Hugging Face hub, with a card. `hf auth login` says who you are.

    Args:
        name: OWNER/NAME on the hub.
        license: under which others may use the weights, by the hub's word for it: apache-2.0, cc-by-4.0, ...
        measured: a file that syncdraw evaluate wrote with --json_file, for the card; may be given several times.
        private: nobody else sees it.
    """
    from syncdraw import hub

    print(f"wrote {hub.push(model, name, license=license, measured=measured or [], private=private)}: "
          f"syncdraw generate --model hub:{name} draws")  # fmt: skip
