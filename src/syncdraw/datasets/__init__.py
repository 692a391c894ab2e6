"""Data sets: each clip is fetched by its number, as uint8, with its caption."""
