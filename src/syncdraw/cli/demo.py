"""syncdraw demo."""

from __future__ import annotations

from syncdraw.cli.options import CountOrNone


def demo(models: list[str] | None = None, /, *, host: str = "localhost", port: CountOrNone = 7860) -> None:
    """Open a page in which models draw: captions, drawing steps, walks, clips of your own, and training curves.

    Args:
        models: run folders, or hub:OWNER/NAME, beside the models that ship.
        host: whom to serve; localhost is this machine alone. 0.0.0.0 is every machine that can reach this one; the
            link then holds a token.
        port: of the link; 0 for any that is free.
    """
    from syncdraw.apps.demo import serve_demo

    serve_demo(models or [], host, port)
