"""Equations become MathML when the site is built, so that no reader's browser has to fetch a program for them."""

import re
from html import unescape
from typing import Any

from latex2mathml.converter import convert

EQUATION = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


def on_page_content(html: str, **_: Any) -> str:
    def one(found: re.Match[str]) -> str:
        tag, equation = found.groups()
        shown = convert(unescape(equation), display="block" if tag == "div" else "inline")
        return f'<{tag} class="equation">{shown}</{tag}>'

    return EQUATION.sub(one, html)
