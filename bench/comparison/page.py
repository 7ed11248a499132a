#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The report as one self-contained page that a stranger understands: HTML with inline SVG, and nothing from anywhere else.

    bench/comparison/page.py compare.json compare.html

draws what an earlier run measured, and prints its table."""
import argparse
import base64
import hashlib
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
if not __package__:  # called as a program
    sys.path[0] = os.path.dirname(HERE)

from comparison import charts, reading, svg, table  # noqa: E402
from comparison.markup import Markup, element, join, scrolling  # noqa: E402

FORMAT = "ringbolt-compare 1"
# What is folded on a screen is unfolded on paper. Everything can be read without it.
SCRIPT = """var opened=[];
addEventListener("beforeprint",function(){opened=[].slice.call(document.querySelectorAll("details:not([open])"));
opened.forEach(function(one){one.open=true})});
addEventListener("afterprint",function(){opened.forEach(function(one){one.open=false})});"""


def write_page(report, path):
    with open(path, "w", encoding="utf-8") as f:
        f.write(page(report))


def page(report):
    found = reading.Reading(report)
    anchors = [(f"work-{number}", work) for number, work in enumerate(found.works, 1)]
    with open(os.path.join(HERE, "page.css"), encoding="utf-8") as f:
        style = Markup(f.read())
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    head = element("head", element("meta", charset="utf-8"), element("meta", http_equiv="Content-Security-Policy", content=policy),
                   element("meta", name="viewport", content="width=device-width, initial-scale=1"),
                   element("meta", name="color-scheme", content="light dark"),
                   element("title", title(found)), element("style", style))
    body = element("body", element("header", opening(found, anchors)),
                   element("main", targets(found), how_to_read(), [charts.section(found, work, anchor) for anchor, work in anchors],
                           doubts(found), settings(found)),
                   element("script", Markup(SCRIPT)))
    return "<!DOCTYPE html>\n" + element("html", head, body, lang="en") + "\n"


# ---- what this is

def title(found):
    peers = [reading.NAMES.get(product, product) for product in found.products("peer")]
    return f"Ringbolt beside {reading.listed(peers)}" if peers else "Ringbolt, measured by itself"


def opening(found, anchors):
    report, machine = found.report, found.machine
    facts = [reading.when(report), machine.get("cpu"), f"{machine.get('cpus')} CPUs", f"Linux {machine.get('kernel')}",
             machine.get("distribution")]
    links = [("targets", "Targets"), *((anchor, work.title) for anchor, work in anchors), ("doubts", "Doubts"),
             ("settings", "Machine and settings")]
    return join(element("p", f"bench/compare, {report.get('profile') or 'custom'} run", class_="eyebrow"), element("h1", title(found)),
                element("p", " ".join(sentences(found)), class_="lead"),
                element("ul", [element("li", fact) for fact in facts if fact], class_="facts"),
                element("nav", element("ul", [element("li", element("a", words, href=f"#{anchor}")) for anchor, words in links]),
                        aria_label="On this page"))


def cpus(numbers):
    return f"CPU {reading.listed(map(str, numbers))}" if numbers else "an unknown CPU"


def sentences(found):
    """Three: what, how, and what counts."""
    report, machine = found.report, found.machine
    peers = [found.versioned(product, is_short=True) for product in found.products("peer")]
    works = len(found.works)
    beside = f" and {reading.listed(peers)}" if peers else ""
    relays = "; plain TCP relays without TLS show the floor" if found.products("floor") else ""
    yield (f"{found.versioned('ringbolt', is_short=True)}{beside} each terminated TLS in front of the same servers on one machine, for "
           f"{works} {'kind' if works == 1 else 'kinds'} of work, with the same certificates"
           f"{' and cipher suite (' + str(report['ciphersuite']) + ')' if report.get('ciphersuite') else ''}{relays}.")
    where, others = machine.get("proxy_cpus") or [], machine.get("other_cpus") or []
    shared = (f"one worker on {cpus(where)}, which it shared with client and servers" if where == others else
              f"one worker alone on {cpus(where)}, client and servers on {cpus(others)}")
    yield (f"Each proxy had {shared}, and they took turns: "
           f"{report.get('rounds')} {'round' if report.get('rounds') == 1 else 'rounds'}, of which the medians count.")
    yield ("A proxy that made an error or was disturbed too often is refused for that work, and a figure that cannot be compared "
           "is marked †, both with the reason where they stand.")


def how_to_read():
    def key(role, words):
        drawn = element("svg", element("rect", x=0, y=1, width=26, height=12, class_="median"), width=26, height=14, aria_hidden="true",
                        focusable="false")
        return element("li", element("span", drawn, class_=role), words)

    dots = element("svg", element("line", x1=2, x2=32, y1=7, y2=7, class_="whisker"),
                   [element("line", x1=x, x2=x, y1=2, y2=12, class_="whisker") for x in (2, 32)],
                   [element("circle", cx=x, cy=7, r=2.6, class_="dot") for x in (2, 11, 15, 32)], width=34, height=14, aria_hidden="true",
                   focusable="false")
    keys = [key("ours", element("strong", "Ringbolt")), key("peer", "a peer"), key("floor", "a plain relay, no TLS"),
            key("peer limited", "†: may not be compared"), element("li", dots, "each round; the least and the most")]
    return element("section", element("h2", "How to read the charts"), element("ul", keys, class_="legend"),
                   element("p", "A bar is the median of its rounds and begins at nothing; the best stands first. Behind it: its value, "
                           "then its ratio to the best peer (0.5× is half of it). Rest the pointer on a dot to read its round.",
                           class_="soft"),
                   id="reading")


# ---- the targets

def targets(found):
    gaps = uncompared(found)
    if not found.targets:
        words = "no peer was measured" if not found.products("peer") else "no work of this run with a target has the figures for it"
        return element("section", element("h2", "Targets"), element("p", f"No target could be checked: {words}."), gaps, id="targets")
    met = sum(one.get("met") is True for one in found.targets)
    undecided = sum(one.get("met") is None for one in found.targets)
    score = f"{met} of {len(found.targets)} met" + (f", {undecided} undecided" if undecided else "")
    ratios = [reading.finite(one.get(name)) or 0 for one in found.targets for name in ("ratio", "limit")]
    most = min(max(1.05, 1.03 * max(ratios)), 3)
    head = [element("th", words, scope="col") for words in ("Target", "Best of Ringbolt", "Best peer", "Ratio", "Result")]
    return element("section", element("h2", "Targets"), element("p", score, class_="score"),
                   element("p", "Each is a ratio of medians: the best of Ringbolt's variants to the best of the peers, as shipped or "
                           "tuned. The mark is the target, the thin line the best peer.", class_="soft"),
                   element("table", element("thead", element("tr", head)),
                           element("tbody", [target_row(found, one, most) for one in found.targets]), class_="targets"), gaps, id="targets")


def uncompared(found):
    works = [work.title for work in found.uncompared()]
    return element("p", "Nothing to compare, because Ringbolt or all peers have no figure that counts: "
                   + reading.names_listed(works) + ".", class_="gaps") if works else None


def target_row(found, target, most):
    metric, ratio, limit = found.target_metric(target), reading.finite(target.get("ratio")), reading.finite(target.get("limit"))
    sign, word = reading.verdict(target)
    name = target.get("title") or target.get("id") or ""
    words = f"{name}: {reading.times(ratio)}, target at most {reading.times(limit)}, {word}"

    def side(which, role):
        who, value = found.side(target, which)
        return element("td", reading.amount(value, metric), " ", element("span", who, class_="who"), data_name=role)

    drawn = svg.ratio(ratio, limit, most, words) if ratio is not None and limit is not None else None
    note = element("span", target["note"], class_="spread") if target.get("note") else None
    said = element("span", element("strong", reading.times(ratio)), f", target at most {reading.times(limit)}", class_="said")
    return element("tr", element("th", name[:1].upper() + name[1:], note, scope="row"), side("ours", "Best of Ringbolt"),
                   side("peer", "Best peer"), element("td", said, drawn, class_="drawn ours"),
                   element("td", element("span", f"{sign} {word}", class_=f"verdict {word.replace('not met', 'missed')}")))


# ---- what to keep in mind, and what it was measured on

def doubts(found):
    return element("section", element("h2", "Doubts and disturbances"),
                   element("ul", [element("li", doubt) for doubt in found.doubts], class_="list") if found.doubts else None,
                   refusals(found), disturbances(found), id="doubts")


def refusals(found):
    refused = found.refusals()
    words = [element("li", f"{work.title}, {line.name}: {line.refused}") for work, line in refused]
    missing = [element("li", f"{one.get('name') or one.get('id')}: {one.get('reason')}") for one in found.missing]
    return join(element("h3", "Refused"), element("ul", words, class_="list") if words else element("p", "Nothing."),
                [element("h3", "Not there"), element("ul", missing, class_="list")] if missing else None)


def disturbances(found):
    if not found.disturbances:
        return join(element("h3", "Disturbed by other load"), element("p", "No measure was."))
    titles = {work.id: work.title for work in found.works}
    rows = [element("tr", element("td", titles.get(one.get("work"), one.get("work"))),
                    element("td", found.names.get(one.get("proxy"), one.get("proxy"))), element("td", one.get("round"), class_="number"),
                    element("td", one.get("what")), element("td", reading.repeats(one))) for one in found.disturbances]
    head = element("tr", [element("th", words, scope="col") for words in ("Work", "Proxy", "Round", "What", "Then")])
    again = sum(bool(one.get("repeated")) for one in found.disturbances)
    count = len(rows)
    told = f"{count} {'measure was' if count == 1 else 'measures were'} disturbed; {again} made again, {count - again} left out"
    listed = scrolling("Disturbances", element("table", element("thead", head), element("tbody", rows)))
    return join(element("h3", "Disturbed by other load"),
                element("details", element("summary", told), listed, open="" if count <= 8 else None))


def settings(found):
    report, machine = found.report, found.machine
    memory, rate = reading.finite(machine.get("memory_bytes")), reading.finite(report.get("rate"))
    versions = [found.versioned(name) for name in found.versions]
    timing = [f"{report.get('rounds')} rounds"] + [f"{reading.number(reading.finite(report[key]))} s {words}" for key, words in
              (("seconds", "each measure"), ("warm_up", "warm-up")) if reading.finite(report.get(key)) is not None]
    rows = [("Command", element("code", report.get("command"))), ("When", reading.when(report)), ("How long", ", ".join(timing)),
            ("Processor", f"{machine.get('cpu')}, {machine.get('cpus')} CPUs: proxy on {cpus(machine.get('proxy_cpus'))}, "
                          f"client and servers on {cpus(machine.get('other_cpus'))}"),
            ("Memory", f"{memory / 2 ** 30:.1f} GiB" if memory else "–"), ("Kernel", f"Linux {machine.get('kernel')}"),
            ("Kernel TLS", machine.get("kernel_tls")), ("Distribution", machine.get("distribution")),
            ("Virtual machine", machine.get("virtual")), ("Versions", ", ".join(versions)), ("Cipher suite", report.get("ciphersuite")),
            ("Fixed rate", f"{reading.number(rate)} requests a second" if rate else None)]
    proxies = [proxy_row(found, proxy) for proxy in found.proxies]
    head = element("tr", [element("th", words, scope="col") for words in ("Proxy", "Role", "Version", "Settings")])
    return element("section", element("h2", "Machine and settings"),
                   element("dl", [[element("dt", name), element("dd", value)] for name, value in rows if value]),
                   element("h3", "The proxies"),
                   scrolling("The proxies' settings", element("table", element("thead", head), element("tbody", proxies))), id="settings")


def proxy_row(found, proxy):
    return element("tr", element("th", proxy.get("name") or proxy["id"], scope="row"),
                   element("td", reading.ROLES.get(proxy.get("role"), proxy.get("role"))),
                   element("td", found.versions.get(proxy.get("product"))), element("td", proxy.get("settings")),
                   class_="ours" if proxy.get("role") == "ours" else None)


def main():
    parser = argparse.ArgumentParser(prog="page.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", help="what bench/compare wrote (JSON)")
    parser.add_argument("page", help="the page to write (HTML)")
    args = parser.parse_args()
    try:
        with open(args.report, encoding="utf-8") as f:
            report = json.load(f)
        if not isinstance(report, dict) or report.get("format") != FORMAT:
            raise ValueError(f'it is no report of bench/compare ("format": "{FORMAT}")')
        write_page(report, args.page)
    except (OSError, ValueError) as error:
        sys.exit(f"page.py: {args.report}: {error}")
    table.print_table(report, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
