"""`python -m syncdraw.apps.rating create_study|serve_study|report_study ...`."""

from __future__ import annotations

import sys

from jsonargparse import auto_cli

from syncdraw.apps.rating import create_study, report_study, serve_study
from syncdraw.errors import UserError

if __name__ == "__main__":
    try:
        auto_cli([create_study, serve_study, report_study])
    except UserError as error:
        sys.exit(f"syncdraw: error: {error}")
