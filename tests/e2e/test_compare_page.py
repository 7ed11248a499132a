# SPDX-License-Identifier: Apache-2.0
"""The page and the table of bench/compare, made from an invented report: nothing was measured, no proxy is run, and the names say so."""
import base64
import copy
import hashlib
import html.parser
import io
import json
import os
import re
import subprocess
import sys

import pytest

import ringbolt

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAM = os.path.join(ROOT, "bench", "comparison", "page.py")
sys.path.insert(0, os.path.join(ROOT, "bench"))

from comparison import page, reading, table  # noqa: E402

pytestmark = pytest.mark.any_layer

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)> </style></title> &amp; \x1b[31m \x00 \ud800 -->"
VOID = {"meta"}
REFUSED_VALUE = 777.125  # of a proxy that was refused: it must be nowhere
LIMITED = "the invented client was saturated in 3 of 3 rounds"


# ---- an invented report

def figures(*rounds):
    good = sorted(one for one in rounds if one is not None)
    return {"median": good[len(good) // 2], "min": good[0], "max": good[-1], "rounds": list(rounds)}


def result(refused=None, limits=None, **metrics):
    return {"metrics": {name: figures(*rounds) for name, rounds in metrics.items()}, "limits": limits or {}, "refused": refused}


def proxy(ident, role, name=None, product=None):
    return {"id": ident, "name": name or f"invented {ident}", "product": product or ident, "role": role, "variant": "shipped",
            "settings": f"settings of {ident}"}


def handshakes():
    return {
        "id": "handshake", "title": "Invented handshake", "about": "About the invented handshake.", "unit": "handshake", "headline": "cpu",
        "metrics": [{"id": "cpu", "title": "CPU of the proxy", "unit": "µs", "per": "handshake", "better": "less"},
                    {"id": "throughput", "title": "handshakes a second", "unit": "1/s", "better": "more"}],
        "results": {
            "slow": result(cpu=[1500.4, 1512.3, 1499.0], throughput=[640.0, 650.0, 660.0]),
            "quick": result(cpu=[910.2, 905.0, 990.0], throughput=[1101.5, 1099.0, 1111.0]),
            "ours": result(cpu=[455.1, None, 455.1], throughput=[31103.4, 31000.0, 32000.0], limits={"throughput": LIMITED}),
            "relay": result(cpu=[120.5, 121.0, 122.0], throughput=[45000.0] * 3),
            "broken": result(refused="3 invented errors: 2 refused, 1 timeout", cpu=[REFUSED_VALUE] * 3, throughput=[REFUSED_VALUE] * 3),
        }}


def latency():
    metrics = [{"id": ident, "title": f"percentile {ident}", "unit": "ms", "better": "less"} for ident in ("p50", "p99", "p999")]
    return {
        "id": "latency", "title": "Invented latency", "about": "About the invented latency.", "unit": "request", "headline": "p99",
        "metrics": metrics,
        "results": {"ours": result(p50=[0.164] * 3, p99=[2.91, 2.9, 3.0], p999=[5.64] * 3),
                    "quick": result(p50=[0.3] * 3, p99=[4.5] * 3, p999=[25.5] * 3, limits={"p99": LIMITED, "p999": LIMITED}),
                    "broken": result(refused="an invented crash", p50=[REFUSED_VALUE])}}


def download():
    return {
        "id": "download", "title": "Invented download", "about": "About the invented download.", "unit": "GB", "headline": "throughput",
        "metrics": [{"id": "throughput", "title": "GB a second", "unit": "GB/s", "better": "more"},
                    {"id": "cpu", "title": "CPU of the proxy", "unit": "s", "per": "GB", "better": "less"}],
        "results": {"quick": result(throughput=[1.25] * 3, cpu=[0.6135] * 3), "ours": result(throughput=[2.5] * 3, cpu=[0.3] * 3)}}


def target(ident, title, work, met, ratio, note=None):
    return {"id": ident, "title": title, "work": work, "metric": "cpu", "limit": 0.65, "ours": {"proxy": "ours", "value": 455.1},
            "peer": {"proxy": "quick", "value": 910.2}, "ratio": ratio, "met": met, "note": note}


@pytest.fixture
def report():
    return copy.deepcopy({
        "format": "ringbolt-compare 1", "profile": "quick", "command": "bench/compare --invented", "begun": "2026-01-02T12:00:00Z",
        "ended": "2026-01-02T12:04:30Z", "rounds": 3,
        "machine": {"cpu": "Invented CPU", "cpus": 2, "memory_bytes": 2 ** 33, "kernel": "6.1.0-invented",
                    "distribution": "Invented Linux 1", "virtual": "none", "proxy_cpus": [1], "other_cpus": [0],
                    "kernel_tls": "none: invented"},
        "versions": {"ringbolt": "0.0.1", "quick": "1.2.3-4+inv5", "openssl": "3.0.99"},
        "proxies": [proxy("ours", "ours", "invented ours, user records", "ringbolt"), proxy("quick", "peer"), proxy("slow", "peer"),
                    proxy("broken", "peer"), proxy("relay", "floor")],
        "missing": [{"id": "absent", "name": "invented absentee", "reason": "it was invented away"}],
        "works": [handshakes(), latency(), download()],
        "targets": [target("one", "Invented target one", "handshake", True, 0.5),
                    target("two", "Invented target two", "download", False, 0.71),
                    target("three", "Invented target three", "gone", None, 0.66, "can't be decided, invented")],
        "disturbances": [{"work": "handshake", "proxy": "ours", "round": 2, "what": "an invented 7 % of steal", "repeated": False}],
        "doubts": ["Everything here is invented."],
    })


# ---- reading what was made

class Parsed(html.parser.HTMLParser):
    """Fails where tags don't match; remembers elements as (tag, attributes, text inside)."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.stack, self.elements, self.text = [], [], ""
        self.feed(text)
        self.close()
        assert not self.stack, self.stack

    def handle_starttag(self, tag, attrs):
        assert len({name for name, _ in attrs}) == len(attrs), attrs
        element = {"tag": tag, "attributes": dict(attrs), "text": "", "parents": [id(one) for one in self.stack]}
        self.elements.append(element)
        if tag not in VOID:
            self.stack.append(element)

    def handle_endtag(self, tag):
        assert self.stack and self.stack[-1]["tag"] == tag, (tag, [one["tag"] for one in self.stack])
        self.stack.pop()

    def handle_data(self, data):
        for element in self.stack:
            element["text"] += data
        if not any(element["tag"] in ("script", "style") for element in self.stack):
            self.text += data

    def all(self, tag, class_=None):
        return [one for one in self.elements if one["tag"] == tag
                and (class_ is None or class_ in one["attributes"].get("class", "").split())]

    def inside(self, element, tag, class_=None):
        return [one for one in self.all(tag, class_) if id(element) in one["parents"]]


def parse(report):
    return Parsed(page.page(report))


def printed(report, encoding="utf-8"):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    table.print_table(report, stream)
    stream.flush()
    return stream.buffer.getvalue().decode(encoding)


def squeezed(text):
    return re.sub(r"\s", "", text)


def check_page(parsed, count):
    """What holds for every page."""
    identifiers = [one["attributes"]["id"] for one in parsed.elements if "id" in one["attributes"]]
    assert len(set(identifiers)) == len(identifiers)
    assert len(parsed.all("h1")) == 1 and len(parsed.all("section", "work")) == count
    assert [one["text"] for one in parsed.all("script")] == [page.SCRIPT]
    for element in parsed.elements:
        for name, value in element["attributes"].items():
            assert not name.startswith("on") and name not in ("src", "style", "action", "data", "srcset", "xlink:href"), (name, value)
            assert name != "href" or (value[0] == "#" and value[1:] in identifiers), value
    for style in parsed.all("style"):
        assert "url(" not in style["text"] and "@import" not in style["text"]
    for drawing in (one for one in parsed.all("svg") if one["attributes"].get("role") == "img"):
        assert len([one for one in parsed.inside(drawing, "title") if one["parents"][-1] == id(drawing)]) == 1
        assert len(parsed.inside(drawing, "desc")) == 1
    for name in ("NaN", "nan%", "inf%", "None"):
        assert name not in parsed.text and all(name not in str(one["attributes"]) for one in parsed.elements)


def check_table(text):
    assert text.endswith("\n") and max(map(len, text.splitlines())) <= 120
    assert "None" not in text and "nan" not in text


# ---- the page

def test_everything_is_on_the_page(report):
    parsed = parse(report)
    check_page(parsed, 3)
    for words in [*(one["name"] for one in report["proxies"]), *(one["settings"] for one in report["proxies"]),
                  *(one["title"] for one in report["works"]), *(one["about"] for one in report["works"]),
                  *(one["title"] for one in report["targets"]), "invented absentee: it was invented away", "can't be decided, invented",
                  "an invented 7 % of steal", "Everything here is invented.", "bench/compare --invented", "2026-01-02, 12:00 to 12:04 UTC",
                  "Invented CPU", "6.1.0-invented", "Invented Linux 1", "8.0 GiB", "none: invented", "1.2.3-4+inv5",
                  "1 of 3 met, 1 undecided"]:
        assert words in parsed.text, words
    assert [one["text"].split(" ", 1) for one in parsed.all("span", "verdict")] == [["✓", "met"], ["✗", "not met"], ["?", "undecided"]]


def work_named(parsed, title):
    section, = (one for one in parsed.all("section", "work") if title in one["text"])
    return section


def bars(parsed, title):
    """[(name, role, value and ratio)] of a work's bars, from above to below."""
    found = []
    for row in parsed.inside(work_named(parsed, title), "li", "row"):
        texts = [one for one in parsed.inside(row, "text")]
        if parsed.inside(row, "svg", "bar"):
            name, = parsed.inside(row, "span", "name")
            found.append((name["text"], row["attributes"]["class"], [one["text"] for one in parsed.inside(texts[0], "tspan")]))
    return found


def test_bars_are_sorted_and_say_their_values(report):
    parsed = parse(report)
    assert bars(parsed, "Invented handshake") == [
        ("invented relay", "row floor", ["121 µs", "0.13×"]), ("invented ours, user records", "row ours", ["455 µs", "0.50×"]),
        ("invented quick", "row peer", ["910 µs", "1.00×"]), ("invented slow", "row peer", ["1,500 µs", "1.65×"])]
    assert [one[2] for one in bars(parsed, "Invented download")] == [["2.50 GB/s", "2.00×"], ["1.25 GB/s", "1.00×"]]  # more is better


def test_bars_are_as_long_as_their_values(report):
    parsed = parse(report)
    widths = {}
    for row in parsed.inside(work_named(parsed, "Invented handshake"), "li", "row"):
        for rect in parsed.inside(row, "rect", "median"):
            widths[parsed.inside(row, "span", "name")[0]["text"]] = float(rect["attributes"]["width"].rstrip("%"))
    assert widths["invented slow"] <= 100
    assert widths["invented quick"] / widths["invented slow"] == pytest.approx(910.2 / 1500.4, abs=1e-3)
    assert widths["invented ours, user records"] / widths["invented slow"] == pytest.approx(455.1 / 1500.4, abs=1e-3)


def test_a_round_without_a_figure_has_no_dot(report):
    parsed = parse(report)
    row, = (one for one in parsed.inside(work_named(parsed, "Invented handshake"), "li", "ours"))
    dots = [parsed.inside(dot, "title")[0]["text"] for dot in parsed.inside(row, "circle", "dot")]
    assert dots == ["round 1: 455 µs", "round 3: 455 µs"]
    assert any("2 of 3" in one["text"] for one in parsed.inside(work_named(parsed, "Invented handshake"), "td"))


def test_refused_figures_are_said_and_never_shown(report):
    made = page.page(report)
    parsed = Parsed(made)
    section = work_named(parsed, "Invented handshake")
    assert not [one for one in bars(parsed, "Invented handshake") if "broken" in one[0]]
    said = [one["text"] for one in parsed.inside(section, "p", "without")]
    assert said == ["refused: 3 invented errors: 2 refused, 1 timeout"]
    assert "778" not in made and "777" not in made
    assert "Invented latency, invented broken: an invented crash" in parsed.text
    assert "778" not in printed(report) and "777" not in printed(report)


def test_limited_figures_are_marked_and_have_no_ratio(report):
    parsed = parse(report)
    shown = {name: (role, words) for name, role, words in bars(parsed, "Invented latency")}
    assert shown["invented quick"] == ("row peer limited", ["4.50 ms\u2009†"])
    assert shown["invented ours, user records"] == ("row ours", ["2.91 ms"])  # the best peer may not be compared
    lists = parsed.inside(work_named(parsed, "Invented latency"), "ul", "notes")
    notes = [one["text"] for notes in lists for one in parsed.inside(notes, "li")]
    assert notes[0] == f"† {LIMITED}: percentile p99 of invented quick may not be compared."
    assert notes[1] == f"† {LIMITED}: percentile p99 and percentile p999 of invented quick may not be compared."


def test_percentiles_are_drawn_where_they_are(report):
    parsed = parse(report)
    row, = (one for one in parsed.inside(work_named(parsed, "Invented latency"), "li", "with-values") if "ours" in one["text"])
    assert parsed.inside(row, "span", "said")[0]["text"] == "0.164 · 2.91 · 5.64 ms"
    places = [float(one["attributes"]["x"].rstrip("%")) for one in parsed.inside(row, "svg", "at")]
    assert places == sorted(places) and len(set(places)) == 3 and 0 <= places[0] and places[-1] <= 100
    assert [one["attributes"]["class"] for one in parsed.inside(row, "path")] == ["mark circle", "mark diamond", "mark square"]


def poisoned(value):
    """Every text of a report made hostile, but for what refers to something and what is one of a few words."""
    def spoil(value, key):
        if isinstance(value, dict):
            return {name: spoil(one, name) for name, one in value.items()}
        if isinstance(value, list):
            return [spoil(one, key) for one in value]
        is_free = key not in ("id", "role", "work", "proxy", "metric", "headline", "format", "begun", "ended", "better")
        return f"{value} {HOSTILE}" if isinstance(value, str) and is_free else value

    return spoil(value, None)


def test_hostile_words_stay_words(report):
    spoiled = poisoned(report)
    parsed = parse(spoiled)
    check_page(parsed, 3)
    assert not parsed.all("img") and not re.search("[\x00-\x08\x0e-\x1f\x7f-\x9f]", page.page(spoiled))
    assert parsed.text.count("<script>alert(1)</script>\"'><img src=x onerror=alert(2)> </style></title> &amp; ") > 20
    text = printed(spoiled)
    check_table(text)
    assert all(char.isprintable() or char == "\n" for char in text)


def test_hostile_identifiers_too(report):
    text = json.dumps(report).replace('"ours"', json.dumps(HOSTILE)).replace('"handshake"', json.dumps("h" + HOSTILE))
    spoiled = json.loads(text)
    check_page(parse(spoiled), 3)
    check_table(printed(spoiled))


def test_the_page_loads_nothing(report):
    made = page.page(report)
    assert not re.search(r"(https?:)?//[a-z]", made.partition("</style>")[2])
    policy, = (one["attributes"]["content"] for one in Parsed(made).all("meta") if "http-equiv" in one["attributes"])
    digest = base64.b64encode(hashlib.sha256(page.SCRIPT.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


# ---- reports with less in them

def without_peers(report):
    report["proxies"] = [one for one in report["proxies"] if one["role"] != "peer"]
    for work in report["works"]:
        work["results"] = {name: one for name, one in work["results"].items() if name in ("ours", "relay")}
    report["targets"] = []


def one_round(report):
    report["rounds"] = 1
    for work in report["works"]:
        for one in work["results"].values():
            for values in one["metrics"].values():
                values["rounds"] = values["rounds"][:1]
                values["min"] = values["max"] = values["median"] = values["rounds"][0]


def nulls(report):
    for work in report["works"]:
        for one in work["results"].values():
            for values in one["metrics"].values():
                values.update({"median": None, "min": None, "max": None, "rounds": [None] * 3})
    for one in report["targets"]:
        one.update({"ratio": None, "met": None, "ours": None, "peer": {"proxy": None, "value": None}})


def nothing_finite(report):
    for work in report["works"]:
        for number, one in enumerate(work["results"].values()):
            for values in one["metrics"].values():
                values.update({"median": [float("nan"), float("inf"), 0][number % 3], "min": None})


def zeros(report):
    for work in report["works"]:
        for one in work["results"].values():
            for values in one["metrics"].values():
                values.update({"median": 0, "min": 0, "max": 0, "rounds": [0, 0, 0]})


def negative(report):
    for one in report["works"][0]["results"].values():
        one["metrics"]["cpu"] = figures(-5.0, -4.0, 3.0)


def no_works(report):
    report["works"] = []


def all_refused(report):
    for work in report["works"]:
        for one in work["results"].values():
            one.update({"refused": "all invented", "metrics": {}})


def empty_results(report):
    for work in report["works"]:
        work["results"] = {}


def unknown_proxies(report):
    report["proxies"] = []


def one_cpu(report):
    report["machine"].update({"cpus": 1, "proxy_cpus": [0], "other_cpus": [0]})


def empty_lists(report):
    report.update({"missing": [], "targets": [], "disturbances": [], "doubts": [], "versions": {}})


LESS = [without_peers, one_round, nulls, nothing_finite, zeros, negative, no_works, all_refused, empty_results, unknown_proxies, one_cpu,
        empty_lists]


@pytest.mark.parametrize("change", LESS, ids=[one.__name__ for one in LESS])
def test_a_report_with_less_in_it(report, change):
    change(report)
    parsed = parse(report)
    check_page(parsed, len(report["works"]))
    check_table(printed(report))
    for work in report["works"]:
        assert work["title"] in parsed.text
    for rect in parsed.all("rect"):
        assert not rect["attributes"]["width"].startswith("-")


def test_without_peers_there_is_no_ratio(report):
    without_peers(report)
    parsed = parse(report)
    assert "no peer was measured" in parsed.text and "measured by itself" in parsed.text
    assert [one[2] for one in bars(parsed, "Invented handshake")] == [["121 µs"], ["455 µs"]]


def test_what_could_not_be_compared_is_said(report):
    said = "have no figure that counts: "
    assert said not in parse(report).text and said not in printed(report)
    report["works"][0]["results"]["ours"]["refused"] = "an invented error"
    for ident in ("quick", "slow"):
        report["works"][2]["results"].pop(ident, None)
    for text in (parse(report).text, printed(report)):
        assert squeezed(f"{said}Invented handshake and Invented download") in squeezed(text)


def test_one_cpu_is_said(report):
    one_cpu(report)
    assert "which it shared with client and servers" in parse(report).text


# ---- the table

def test_the_table_says_it_all(report):
    text = printed(report)
    check_table(text)
    for words in [*(one["name"] for one in report["proxies"]), *(one["title"] for one in report["works"]),
                  "invented broken: refused: 3 invented errors: 2 refused, 1 timeout", "invented broken: refused: an invented crash",
                  "handshake, invented broken: 3 invented errors: 2 refused, 1 timeout", "Targets: 1 of 3 met",
                  "✓ met: Invented target one: 0.50×, limit 0.65× (455 µs invented ours, user records; 910 µs invented quick)",
                  "✗ not met: Invented target two: 0.71×", "? undecided: Invented target three", "can't be decided, invented",
                  "invented absentee: it was invented away", "Everything here is invented.", "an invented 7 % of steal; left out"]:
        assert squeezed(words) in squeezed(text), words
    row, = re.findall(r"^  invented quick +(.*)$", text.split("Invented latency")[0], re.MULTILINE)
    assert row.split() == ["1.00×", "910", "(905", "to", "990)", "1,102", "(1,099", "to", "1,111)"]
    assert "31,103†" in text and LIMITED in text


def test_the_table_is_narrow_whatever_is_in_it(report):
    long = "a very long invented reason, which goes on and on " * 8
    work = report["works"][0]
    work["metrics"] += [{"id": f"extra{number}", "title": long, "unit": "µs", "per": "handshake", "better": "less"} for number in range(9)]
    for one in work["results"].values():
        one["metrics"].update({f"extra{number}": figures(123456.7, 123999.1, 125111.1) for number in range(9)})
    work["results"]["broken"]["refused"] = long
    report["proxies"][1]["name"] = long
    report["doubts"] = [long, "x" * 500]
    text = printed(report)
    check_table(text)
    assert squeezed(long) in squeezed(text) and "x" * 500 in squeezed(text)
    assert all(f"extra{number}" in text for number in range(9))


def test_a_poor_terminal_gets_a_table(report):
    check_table(printed(report, "ascii"))


# ---- how numbers are written

@pytest.mark.parametrize("value,text", [(None, "–"), (0, "0"), (3, "3"), (910.2, "910"), (99.96, "100"), (41.26, "41.3"), (9.996, "10.0"),
                                        (1.634, "1.63"), (0.9996, "1.00"), (0.6135, "0.614"), (0.04821, "0.0482"), (31103.4, "31,103"),
                                        (-0.5, "-0.500"), (1e-9, "1e-09")])
def test_numbers_have_three_figures(value, text):
    assert reading.number(value) == text


@pytest.mark.parametrize("ident,text", [("p50", "p50"), ("p999", "p99.9"), ("p9999", "p99.99"), ("cpu", None), ("p5", None)])
def test_percentiles_have_names(ident, text):
    assert reading.percentile({"id": ident}) == text


# ---- the program

def run(*arguments):
    return subprocess.run([PROGRAM, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8",
                          timeout=ringbolt.WAIT, check=False, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUTF8": "1"})


def test_a_report_is_drawn_again(report, tmp_path):
    with open(tmp_path / "report.json", "w", encoding="utf-8") as f:
        json.dump(report, f)
    done = run(tmp_path / "report.json", tmp_path / "page.html")
    assert (done.returncode, done.stderr, done.stdout) == (0, "", printed(report))
    with open(tmp_path / "page.html", encoding="utf-8") as f:
        assert f.read() == page.page(report)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": "ringbolt-compare 2"}', None])
def test_what_is_no_report_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "report.json").write_text(content)
    done = run(tmp_path / "report.json", tmp_path / "page.html")
    assert done.returncode == 1 and done.stderr.startswith("page.py: ") and done.stderr.count("\n") == 1
    assert not (tmp_path / "page.html").exists()
