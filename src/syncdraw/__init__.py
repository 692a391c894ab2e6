"""Sync-DRAW: videos drawn from nothing, or from a caption."""
