# SPDX-License-Identifier: Apache-2.0
"""The report in a terminal: plain text, at most 120 columns."""
import textwrap

from comparison import reading

WIDTH = 120
NAME_MOST = 36
MARK = "†"  # behind a figure that may not be compared


def print_table(report, stream):
    found = reading.Reading(report)
    lines = [*heading(found)]
    for work in found.works:
        lines += ["", *work_lines(work)]
    lines += ["", *target_lines(found), *refused_lines(found), *note_lines(found)]
    encoding = getattr(stream, "encoding", None) or "utf-8"
    text = "".join(printable(line).rstrip() + "\n" for line in lines)
    stream.write(text.encode(encoding, "replace").decode(encoding))  # a poor terminal gets a poor table, but it gets one


def printable(text):
    """A report's words can't drive the terminal."""
    return "".join(char if char.isprintable() else "?" for char in text)


def paragraph(text, first="", rest=None):
    rest = " " * len(first) if rest is None else rest
    return textwrap.wrap(printable(" ".join(str(text).split())), WIDTH, initial_indent=first, subsequent_indent=rest) or [first]


def short(text, most):
    text = printable(str(text))
    return text if len(text) <= most else text[:most - 1] + "…"


def columns(rows, widths):
    """The first column to the left, the others to the right."""
    return ["  ".join(cell.ljust(width) if number == 0 else cell.rjust(width) for number, (cell, width) in enumerate(zip(row, widths)))
            for row in rows]


def heading(found):
    report, machine = found.report, found.machine
    versions = ", ".join(found.versioned(name) for name in found.versions)
    yield from paragraph(f"{report.get('command')}: {reading.when(report)}, {report.get('rounds')} rounds; medians (least to most)")
    yield from paragraph(f"{machine.get('cpu')}, {machine.get('cpus')} CPUs, Linux {machine.get('kernel')}, {machine.get('distribution')}, "
                         f"kernel TLS: {machine.get('kernel_tls')}")
    if versions:
        yield from paragraph(versions)


def cells(figures):
    """Of one metric, medians below medians and spreads below spreads."""
    medians = [reading.number(figure.median) + (MARK if figure.limit else "") if figure else "–" for figure in figures]
    spreads = [f"({reading.number(figure.least)} to {reading.number(figure.most)})" if figure and figure.least != figure.most else ""
               for figure in figures]
    before, behind = (max(map(len, column), default=0) for column in (medians, spreads))
    return [f"{median:>{before}} {spread:<{behind}}" for median, spread in zip(medians, spreads)]


def work_lines(work):
    yield from paragraph(f"{work.title} [{work.id}]")
    lines = [line for line in work.lines if not line.refused]
    metrics = sorted(work.metrics, key=lambda one: one is not work.headline)
    table = [[short(line.name, NAME_MOST) for line in lines]]
    heads = [("", "")]
    if work.headline:
        heads.append(("to best", "peer"))
        table.append([reading.times(work.ratio(line, work.headline)) for line in lines])
    for metric in metrics:
        unit = reading.unit_of(metric)
        heads.append((short(metric["id"], 24), short("" if unit == "per second" and metric["id"].endswith("s") else unit, 24)))
        table.append(cells([line.figure(metric) for line in lines]))
    if lines:
        yield from blocks(heads, table)
    for limit in work.limits():
        yield from paragraph(f"{MARK} {limit.why}: {', '.join(one['id'] for one in limit.metrics)} of {whom(limit, lines)}", "  ", "    ")
    for line in work.lines:
        if line.refused:
            yield from paragraph(f"{line.name}: refused: {line.refused}", "  ", "    ")


def whom(limit, lines):
    return "all" if len(limit.names) == len(lines) > 1 else reading.names_listed(limit.names)


def blocks(heads, table):
    """As many columns side by side as fit; the names begin each block again."""
    widths = [max(map(len, [*head, *column])) for head, column in zip(heads, table)]
    first = 1
    while first < len(table):
        after = first + 1
        while after < len(table) and 2 + widths[0] + sum(width + 2 for width in widths[first:after + 1]) <= WIDTH:
            after += 1
        chosen = [0, *range(first, after)]
        rows = [[heads[number][part] for number in chosen] for part in (0, 1)] + list(zip(*(table[number] for number in chosen)))
        yield from ("  " + row for row in columns(rows, [widths[number] for number in chosen]))
        first = after


def target_lines(found):
    gaps = [work.title for work in found.uncompared()]
    if gaps:
        yield from paragraph(f"Nothing to compare, because Ringbolt or all peers have no figure that counts: {reading.names_listed(gaps)}")
    if not found.targets:
        yield "Targets: none could be checked (both Ringbolt and a peer need a figure)"
        return
    met = sum(one.get("met") is True for one in found.targets)
    yield f"Targets: {met} of {len(found.targets)} met (best of Ringbolt beside best of the peers)"
    for one in found.targets:
        metric = found.target_metric(one)
        sides = [f"{reading.amount(value, metric)} {who}" for who, value in (found.side(one, "ours"), found.side(one, "peer"))]
        sign, word = reading.verdict(one)
        yield from paragraph(f"{sign} {word}: {one.get('title') or one.get('id')}: {reading.times(reading.finite(one.get('ratio')))}, "
                             f"limit {reading.times(reading.finite(one.get('limit')))} ({sides[0]}; {sides[1]})"
                             + (f"; {one['note']}" if one.get("note") else ""), "  ", "    ")


def refused_lines(found):
    refused = found.refusals()
    if refused:
        yield from ["", "Refused: no figure of these counts"]
    for work, line in refused:
        yield from paragraph(f"{work.id}, {line.name}: {line.refused}", "  ", "    ")
    if found.missing:
        yield from ["", "Not there"]
    for one in found.missing:
        yield from paragraph(f"{one.get('name') or one.get('id')}: {one.get('reason')}", "  ", "    ")


def note_lines(found):
    if found.disturbances:
        yield from ["", "Disturbances"]
    for one in found.disturbances:
        yield from paragraph(f"{one.get('work')}, {found.names.get(one.get('proxy'), one.get('proxy'))}, round {one.get('round')}: "
                             f"{one.get('what')}; {reading.repeats(one)}", "  ", "    ")
    if found.doubts:
        yield from ["", "To keep in mind"]
    for doubt in found.doubts:
        yield from paragraph(doubt, "  ", "    ")
