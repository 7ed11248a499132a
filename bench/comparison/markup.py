# SPDX-License-Identifier: Apache-2.0
"""HTML as values. Text is escaped where it enters an element, so what a report says can't become markup."""
import html
import re

VOID = {"meta"}
CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")  # no text has them, and HTML and UTF-8 forbid most of them


class Markup(str):
    """What is HTML already."""


def escape(value):
    return value if isinstance(value, Markup) else Markup(html.escape(CONTROLS.sub("\ufffd", str(value))))


def join(*children):
    """Lists are taken apart; None is nothing."""
    parts = []
    for child in children:
        if isinstance(child, (list, tuple)):
            parts.append(join(*child))
        elif child is not None:
            parts.append(escape(child))
    return Markup("".join(parts))


def element(kind, /, *children, **attributes):
    """class_ is class, stroke_width is stroke-width; an attribute that is None is left out."""
    given = "".join(f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"' for key, value in attributes.items() if value is not None)
    return Markup(f"<{kind}{given}>" if kind in VOID else f"<{kind}{given}>{join(*children)}</{kind}>")


def scrolling(label, *children):
    """What may be wider than a screen moves in a frame of its own, also by keyboard."""
    return element("div", *children, class_="scroll", tabindex="0", role="region", aria_label=label)
