# SPDX-License-Identifier: Apache-2.0
"""The drawings, one small SVG a row. Places along a row are in per cent and everything else in pixels, so a chart is as wide as the
screen allows and its words stay as large as the page's."""
import math

from comparison import reading
from comparison.markup import element

HEIGHT, MIDDLE = 28, 14
SHAPES = {"p50": ("circle", "M-4,0 a4,4 0 1,0 8,0 a4,4 0 1,0 -8,0"), "p99": ("diamond", "M0,-5.5 L5.5,0 L0,5.5 L-5.5,0 Z"),
          "p99.9": ("square", "M-4.2,-4.2 H4.2 V4.2 H-4.2 Z"), "p99.99": ("triangle", "M0,-5 L5,4 H-5 Z")}
OTHER_SHAPE = ("plus", "M-1.5,-5 H1.5 V-1.5 H5 V1.5 H1.5 V5 H-1.5 V1.5 H-5 V-1.5 H-1.5 Z")


def percent(share):
    return f"{100 * max(share, 0):.2f}%"


def drawing(class_, title, description, *children, height=HEIGHT):
    return element("svg", element("title", title), element("desc", description), *children, class_=class_, role="img",
                   width="100%", height=height, focusable="false")


def vertical(share, class_, top=0, bottom=HEIGHT):
    return element("line", x1=percent(share), x2=percent(share), y1=top, y2=bottom, class_=class_)


def bar(line, metric, figure, most, ratio, target):
    """From nothing to the median; the rounds as dots, least to most as whiskers, the value behind. most: what the whole width is;
    target: a value to draw a line at, or None."""
    value = reading.amount(figure.median, metric) + ("\u2009†" if figure.limit else "")
    dots = [element("circle", element("title", f"round {number}: {reading.amount(one, metric)}"), cx=percent(one / most), cy=MIDDLE, r=2.4,
                    class_="dot") for number, one in enumerate(figure.rounds, 1) if one is not None]
    least, end = figure.least / most, figure.most / most
    whisker = [] if figure.least == figure.most else [
        element("line", x1=percent(least), x2=percent(end), y1=MIDDLE, y2=MIDDLE, class_="whisker"),
        vertical(least, "whisker", MIDDLE - 6, MIDDLE + 6), vertical(end, "whisker", MIDDLE - 6, MIDDLE + 6)]
    words = element("text", element("tspan", value, class_="value"), element("tspan", reading.times(ratio), dx=8) if ratio else None,
                    x=percent(max(end, figure.median / most)), y=MIDDLE + 5, dx=10)
    return drawing("bar", f"{line.name}: {reading.amount(figure.median, metric)}", described(metric, figure, ratio),
                   element("rect", x=0, y=5, width=percent(figure.median / most), height=HEIGHT - 10, class_="median"),
                   vertical(target / most, "target") if target is not None else None, whisker, dots, words)


def described(metric, figure, ratio):
    good = [one for one in figure.rounds if one is not None]
    parts = [f"{metric.get('title') or metric['id']}, median of {len(good) or 'the'} rounds",
             f"{reading.number(figure.least)} to {reading.amount(figure.most, metric)}"]
    if ratio:
        parts.append(f"{ratio:.2f} times the best peer's")
    return "; ".join(parts) + (f"; not to be compared: {figure.limit}" if figure.limit else "")


def target_label(target, most, words):
    """The foot of a bar chart: it says what the line is."""
    share = target / most
    side = {"x": percent(share), "text_anchor": "start" if share < 0.5 else "end", "dx": 6 if share < 0.5 else -6}
    return element("svg", vertical(share, "target", 0, 14), element("text", words, y=14, class_="target-words", **side), class_="bar foot",
                   width="100%", height=20, aria_hidden="true", focusable="false")


class Decades:
    """A logarithmic axis that begins and ends at 1, 2 or 5 times a power of ten."""

    STEPS = (1, 2, 5, 10)

    def __init__(self, values):
        self.first, self.last = self._step(min(values), down=True), self._step(max(values), down=False)
        if self.first == self.last:
            self.last = self._step(self.first * 1.5, down=False)

    def _step(self, value, down):
        power = 10.0 ** math.floor(math.log10(value))
        fits = [step * power for step in self.STEPS if (step * power <= value * 1.000001 if down else step * power >= value * 0.999999)]
        return max(fits) if down else min(fits)

    def share(self, value):
        return math.log(value / self.first) / math.log(self.last / self.first)

    def ticks(self):
        """All steps of a short axis, the powers of ten of a long one."""
        low, high = math.floor(math.log10(self.first)), math.ceil(math.log10(self.last))
        steps = (1,) if self.last / self.first > 60 else (1, 2, 5)
        ticks = [step * 10.0 ** power for power in range(low, high + 1) for step in steps]
        return [tick for tick in ticks if self.first * 0.999 <= tick <= self.last * 1.001]


def shape(name, x=None):
    """At that place of a row; without one, for a legend."""
    path = element("path", d=SHAPES.get(name, OTHER_SHAPE)[1], class_=f"mark {SHAPES.get(name, OTHER_SHAPE)[0]}")
    if x is None:
        return element("svg", element("g", path, transform="translate(7 7)"), width=14, height=14, class_="key", aria_hidden="true",
                       focusable="false")
    return element("svg", path, x=x, y=MIDDLE, class_="at")


def percentiles(line, axis, found):
    """Marks on one axis, joined. found: [(metric, its name, figure)]"""
    places = [(name, axis.share(figure.median)) for _, name, figure in found if figure.median > 0]
    said = "; ".join(f"{name} {reading.amount(figure.median, metric)}" for metric, name, figure in found)
    joined = element("line", x1=percent(places[0][1]), x2=percent(places[-1][1]), y1=MIDDLE, y2=MIDDLE, class_="join") if places else None
    return drawing("marks", f"{line.name}: {said}", "Latency percentiles on a logarithmic axis, medians of the rounds.",
                   [vertical(axis.share(tick), "grid") for tick in axis.ticks()], joined,
                   [shape(name, percent(place)) for name, place in places])


def axis_labels(axis, unit):
    words = [element("text", f"{tick:,.12g}" + (f" {unit}" if number == 0 else ""), x=percent(axis.share(tick)), y=14,
                     text_anchor="middle") for number, tick in enumerate(axis.ticks())]
    return element("svg", words, class_="marks foot", width="100%", height=20, aria_hidden="true", focusable="false")


def ratio(value, limit, most, words):
    """A target: how long the bar may be, and how long it is. 1 is the best peer."""
    return drawing("ratio", words, "The bar is the ratio to the best peer, the mark is the target, the thin line is the best peer.",
                   element("rect", x=0, y=4, width=percent(min(value / most, 1)), height=8, class_="median"),
                   vertical(1 / most, "one", 0, 16) if most >= 1 else None, vertical(limit / most, "limit", 0, 16), height=16)
