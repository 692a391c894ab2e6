"""A page in which models draw: captions, drawing steps, walks, clips of one's own, and the curves of a run."""

from __future__ import annotations

from syncdraw.apps.demo.server import serve_demo

__all__ = ["serve_demo"]
