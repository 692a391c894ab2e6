"""The human rating study of v2, section 4.6.2: make one, let people rate, report what they said."""

from __future__ import annotations

from syncdraw.apps.rating.report import report_study
from syncdraw.apps.rating.server import serve_study
from syncdraw.apps.rating.study import create_study

__all__ = ["create_study", "report_study", "serve_study"]
