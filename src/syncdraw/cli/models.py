"""syncdraw models."""

from __future__ import annotations


def models(*, json: bool = False) -> None:
    """List the models that come with the package: what each draws, its size, and how to draw with it.

    Args:
        json: everything that is known of them, measurements included.
    """
    from json import dumps

    from syncdraw.cards import WEIGHTS_FILE, load_card, shipped_models

    folders = shipped_models()
    cards = {name: load_card(name) for name in folders}
    if json:
        print(dumps(cards, indent=1))
        return
    width = max(map(len, folders), default=0)
    for name, folder in folders.items():
        size = (folder / WEIGHTS_FILE).stat().st_size / 1e6
        captioned = cards[name]["model"]["captions"]["route"] != "none"
        example = "digit 3 is moving left and right"
        if cards[name].get("bouncing", {}).get("digits") == 2:
            example = "3 left and right and 5 up and down"  # in few words, so that lines fit on a screen
        caption = f' "{cards[name].get("example", example)}"' if captioned else ""
        print(f"{name:<{width}}  {cards[name].get('about', '')} ({size:.1f} MB)")
        print(f"{'':<{width}}  syncdraw generate{caption} --model {name}")
    print("\n--model also takes a run folder, or hub:OWNER/NAME; syncdraw models --json tells what was measured")
