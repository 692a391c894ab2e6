"""`python -m syncdraw` is `syncdraw`."""

from syncdraw.cli import main

main()
