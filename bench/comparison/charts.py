# SPDX-License-Identifier: Apache-2.0
"""One work on the page: the headline as bars, percentiles as marks, and all figures in a table."""
from comparison import reading, svg
from comparison.markup import element, join, scrolling


def classes(line, figure=None):
    role = line.role if line.role in reading.ROLES else "peer"
    return f"{role} limited" if figure and figure.limit else role


def section(found, work, anchor):
    percentiles = [metric for metric in work.metrics if reading.percentile(metric)]
    about_latency = work.headline and reading.percentile(work.headline)
    marks = latencies(work, percentiles) if len(percentiles) > 1 else None
    return element("section", element("h2", work.title, id=f"{anchor}-title"), element("p", work.about),
                   bars(found, work) if work.headline else None, marks if about_latency else None,
                   details(work, None if about_latency else marks),
                   element("p", f"Not part of this work: {reading.names_listed(work.absent)}.", class_="soft") if work.absent else None,
                   class_="work", id=anchor, aria_labelledby=f"{anchor}-title")


def without(line, work):
    """The row of a proxy that has no bar."""
    why = f"refused: {line.refused}" if line.refused else f"no figure: {work.headline['id']} was not measured"
    return element("li", element("span", line.name, class_="name"), element("p", why, class_="without"), class_=f"row {classes(line)}")


def bars(found, work):
    metric, target = work.headline, found.target_of(work, work.headline)
    figures = [(line, line.figure(metric)) for line in work.lines]
    drawn = [(line, figure) for line, figure in figures if figure]
    goal = found.goal(target) if target else None
    most = max([figure.most for _, figure in drawn] + [goal or 0], default=0) or 1
    rows = [element("li", element("span", line.name, class_="name"),
                    element("div", svg.bar(line, metric, figure, most, work.ratio(line, metric), goal), class_="plot"),
                    class_=f"row {classes(line, figure)}") for line, figure in drawn]
    rest = [without(line, work) for line, figure in figures if not figure]
    foot = None
    if goal and drawn:
        words = f"target {reading.amount(goal, metric)}: {reading.times(target['limit'])} the best peer's"
        foot = element("div", element("span", class_="name"), element("div", svg.target_label(goal, most, words), class_="plot"),
                       class_="row tail")
    better = "more is better" if metric.get("better") == "more" else "less is better"
    title = metric.get("title") or metric["id"]
    caption = join(element("strong", title[:1].upper() + title[1:]), f", {reading.unit_of(metric) or 'number'}; {better}.")
    return element("figure", element("figcaption", caption), element("ol", rows, class_="chart bars") if rows else None,
                   element("div", foot, class_="bars") if foot else None, element("ul", rest, class_="chart") if rest else None,
                   limits(work, [metric]))


def latencies(work, metrics):
    """Nothing when there is nothing to draw."""
    lines = [(line, [(metric, reading.percentile(metric), line.figure(metric)) for metric in metrics if line.figure(metric)])
             for line in work.lines]
    lines = [(line, found) for line, found in lines if found]
    values = [figure.median for _, found in lines for _, _, figure in found if figure.median > 0]
    if not values:
        return None
    axis, unit = svg.Decades(values), metrics[0].get("unit") or ""
    rows = [element("li", element("span", line.name, class_="name"), element("div", svg.percentiles(line, axis, found), class_="plot"),
                    element("span", values_said(found, unit), class_="said"),
                    class_=f"row with-values {classes(line, next((figure for _, _, figure in found if figure.limit), None))}")
            for line, found in lines]
    foot = element("div", element("span", class_="name"), element("div", svg.axis_labels(axis, unit), class_="plot"),
                   class_="row with-values tail")
    names = [(reading.percentile(metric), metric.get("title") or metric["id"]) for metric in metrics]
    legend = element("ul", [element("li", svg.shape(name), f"{name}: {title}") for name, title in names], class_="legend")
    caption = element("figcaption", element("strong", "Latency percentiles"), f", {unit}, logarithmic axis; less is better.")
    return element("figure", caption, legend, element("ol", rows, class_="chart marks-chart"), foot, limits(work, metrics))


def values_said(found, unit):
    return " · ".join(reading.number(figure.median) + ("†" if figure.limit else "") for _, _, figure in found) + f" {unit}"


def limits(work, metrics=None):
    """What † means here."""
    gathered = work.limits(metrics)
    if not gathered:
        return None
    with_figures = sum(not line.refused for line in work.lines)
    return element("ul", [element("li", f"† {limit.why}: {reading.listed([one.get('title') or one['id'] for one in limit.metrics])} of "
                                  + ("all" if len(limit.names) == with_figures > 1 else reading.names_listed(limit.names))
                                  + " may not be compared.") for limit in gathered], class_="notes")


def details(work, marks):
    head = element("tr", element("th", "Proxy", scope="col"),
                   [element("th", metric.get("title") or metric["id"], element("span", reading.unit_of(metric), class_="spread"),
                            scope="col", class_="number") for metric in work.metrics],
                   [element("th", words, scope="col", class_="number") for words in ("Ratio to the best peer", "Rounds")])
    table = element("table", element("thead", head), element("tbody", [table_row(work, line) for line in work.lines]))
    return element("details", element("summary", "All figures of this work"), marks,
                   scrolling(f"{work.title}: all figures", table), limits(work))


def table_row(work, line):
    name = element("th", line.name, scope="row")
    if line.refused:
        return element("tr", name, element("td", f"refused: {line.refused}", colspan=len(work.metrics) + 2), class_=classes(line))
    cells = []
    for metric in work.metrics:
        figure = line.figure(metric)
        spread = f"{reading.number(figure.least)} to {reading.number(figure.most)}" if figure else None
        cells.append(element("td", reading.number(figure.median) + ("\u2009†" if figure.limit else "") if figure else "–",
                             element("span", spread, class_="spread") if figure and figure.least != figure.most else None, class_="number"))
    ratio = work.ratio(line, work.headline) if work.headline else None
    return element("tr", name, cells, element("td", reading.times(ratio), class_="number"),
                   element("td", rounds(work, line), class_="number"), class_=classes(line))


def rounds(work, line):
    """How many of them count."""
    figure = line.figure(work.headline) if work.headline else None
    if not figure or not figure.rounds:
        return "–"
    good, every = sum(one is not None for one in figure.rounds), len(figure.rounds)
    return str(every) if good == every else f"{good} of {every}"
