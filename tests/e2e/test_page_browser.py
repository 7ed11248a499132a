# SPDX-License-Identifier: Apache-2.0
"""The page at / of admin.http, in a real Chromium. (How it is served is test_page.py's.)"""
import json
import os
import re
import signal
import subprocess

import pytest

import browser
import metrics
import ringbolt

pytestmark = [pytest.mark.any_layer, pytest.mark.skipif(browser.program() is None, reason="there is no Chromium here")]

HOSTILE = "<img src=x onerror=document.body.remove()>\"'&amp;</script><script>document.body.remove()</script>"
PHONE = 360
HAS_DATA = "document.querySelector('main') && !document.querySelector('main').hidden"
# Pairs of the words that a row is shown with and what stands there.
TABLE = """[...document.querySelectorAll('#%s tbody tr')].map(row => Object.fromEntries([...row.cells].map(cell =>
    [cell.dataset.label, cell.firstChild.textContent])))"""
SMALL = "[...document.querySelectorAll('%s small')].map(small => small.textContent)"
# Each text whose contrast with what lies behind it is below 4.5, as WCAG 2 counts it.
FAINT = """(() => {
    const numbers = color => color.match(/[0-9.]+/g).map(Number);
    const light = color => {
        const [r, g, b] = numbers(color).slice(0, 3).map(c => c / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = element => {
        for (; element; element = element.parentElement) {
            const color = getComputedStyle(element).backgroundColor;
            if (numbers(color)[3] !== 0)
                return color;
        }
        return 'rgb(255, 255, 255)';
    };
    return [...document.querySelectorAll('body *')].filter(element => element.checkVisibility()
        && [...element.childNodes].some(node => node.nodeType === Node.TEXT_NODE && node.data.trim())).filter(element => {
            const style = getComputedStyle(element);
            const [a, b] = [light(element.namespaceURI.endsWith('svg') ? style.fill : style.color), light(behind(element))];
            return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) < 4.5;
        }).map(element => element.outerHTML);
})()"""
# What reaches over the right edge, but for what is for screen readers alone.
WIDE = """[...document.querySelectorAll('body *')].filter(element => !element.closest('thead, .unseen, [hidden]')
    && element.getBoundingClientRect().right > innerWidth + 0.5).map(element => element.outerHTML.slice(0, 200))"""


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    started = browser.Browser(str(tmp_path_factory.mktemp("chromium")))
    yield started
    started.close()


@pytest.fixture
def show(start, chromium):
    """Starts a proxy that serves its page, and opens it once there was traffic: (the proxy, the page)."""
    def make(upstreams, config=None, traffic=lambda watched: None, **options):
        watched = metrics.Watched(start(upstreams, config={**(config or {}), "admin": {"http": "127.0.0.1:0", **(config or {}).get("admin", {})}},
                                        **options))
        traffic(watched)
        chromium.requests.clear()
        chromium.complaints.clear()
        chromium.size(1240, 900)
        chromium.open(f"http://{watched.address[0]}:{watched.address[1]}/")
        chromium.wait_for(HAS_DATA)
        return watched, chromium
    yield make
    chromium.open("about:blank")


def table(page, name):
    return page.run(TABLE % name)


def converse(watched, dial, count, **options):
    """So many connections, one after the other, that each end well."""
    for _ in range(count):
        client = dial(watched.stage["app"], **options)
        client.send_data(b"echo x\nhello")
        assert client.read(5) == b"hello"
        client.close_notify()
        assert client.end() == "close_notify"
        assert watched.stage.line(client)["end"] == "done"


def plain_text(watched, dial):
    """One that can't shake hands."""
    client = dial(watched.stage["app"], handshake=False)
    client.send(b"GET / HTTP/1.0\r\n\r\n")
    assert watched.stage.line_at_end(client)["end"] == "handshake_failed"


# ---- numbers

def test_numbers_are_those_of_the_document(show, actor, dial):
    def traffic(watched):
        converse(watched, dial, 3)
        converse(watched, dial, 2, version="1.2", cipher="CHACHA20-POLY1305")
        plain_text(watched, dial)

    watched, page = show({"app": [actor.address]}, traffic=traffic)
    status = watched.status()
    listener, upstream = status["listeners"][0], status["upstreams"][0]
    assert (listener["accepted"], listener["bytes_in"], listener["bytes_out"]) == (6, 60, 25), "the traffic is not what the test thinks"
    assert table(page, "listeners") == [{
        "Listener": "app", "Address": listener["address"], "Connections": "0", "Accepted": "6", "Failed": "1", "Refused": "0",
        "Handshakes": "5", "Resumed": "0 %", "Bytes in": "60 B", "Bytes out": "25 B"}]
    assert table(page, "upstreams") == [{
        "Server": actor.address, "Health": "up", "Set to": "ready", "Connections": "0", "Connects": "5", "Failed": "0",
        "Bytes in": "60 B", "Bytes out": "25 B"}]
    assert table(page, "ends") == [
        {"End": "done", "What happened": "in an orderly way", "Connections": "5"},
        {"End": "handshake_failed", "What happened": "no TLS session with the client", "Connections": "1"}]
    assert table(page, "records") == [
        {"Direction": words, "Layer": "user", "Why not the kernel": "switched off", "Connections": "5"} for words in ("to clients", "from clients")]
    assert table(page, "suites") == [
        {"Suite": "TLS_AES_128_GCM_SHA256", "Version": "TLSv1.3", "Full": "3", "Resumed": "0"},
        {"Suite": "ECDHE-ECDSA-CHACHA20-POLY1305", "Version": "TLSv1.2", "Full": "2", "Resumed": "0"}]
    assert [(row["Process"], row["State"], row["PID"]) for row in table(page, "workers")] == \
        [(f"worker {worker['worker']}", "ready", str(worker["pid"])) for worker in status["workers"]] + [("master", "–", str(status["pid"]))]
    held = [", ".join((["seccomp"] if one["seccomp"] != "none" else []) + ([f"Landlock {one['landlock']}"] if one["landlock"] else []) +
                      (["io_uring"] if one["io_uring"] else [])) or "nothing" for one in status["sandbox"]]
    assert [row["Held by"] for row in table(page, "workers")] == held[1:] + held[:1]
    assert page.run(SMALL % "#workers td:last-child") == [
        f"as {one['user']}" + (f", with {', '.join(one['capabilities'])}" if one["capabilities"] else "") for one in status["sandbox"][1:] + status["sandbox"][:1]]
    assert [(row["Name"], row["State"], row["Fingerprint"], row["Handshakes"]) for row in table(page, "certificates")] == \
        [(one["name"], "ends soon", one["certificate"], str(one["handshakes"])) for one in status["certificates"]["first_to_end"]]
    assert sum(int(row["Handshakes"]) for row in table(page, "certificates")) == 5
    assert page.run("[...document.querySelectorAll('#times .card')].map(card => card.querySelectorAll('b')[2].textContent)") == ["5", "0", "5", "6"]
    assert upstream["connect_seconds"]["count"] == 5
    assert page.text("#state") == "serving" and page.text("#banner") == "" and page.text("#version") == status["version"]


WORDS = [
    ("[0, 999, 1024, 1048575, 1048576, 157286400, 5e15].map(formatBytes)",
     ["0 B", "999 B", "1.00 KiB", "1024 KiB", "1.00 MiB", "150 MiB", "4.44 PiB"]),
    ("[0, 7, 1234567, 123456789].map(formatCount)", ["0", "7", "1,234,567", "123.5 M"]),
    ("[0, 0.01, 0.5, 9.94, 31103.4].map(formatRate)", ["0", "< 0.1", "0.5", "9.9", "31,103"]),
    ("[0, 0.0005, 0.0123, 0.25, 2.5, 61, 86400].map(formatSeconds)", ["0", "0.5 ms", "12 ms", "250 ms", "2.5 s", "1 min 1 s", "1 d"]),
    ("[0.2, 59, 60, 3660, 90000, 8640000].map(formatSpan)", ["0 s", "59 s", "1 min", "1 h 1 min", "1 d 1 h", "100 d"]),
    ("[[0, 0], [1, 1000], [1, 2], [999, 1000], [5, 5]].map(([a, b]) => formatShare(a, b))", ["–", "< 1 %", "50 %", "> 99 %", "100 %"]),
    ("[0.5, 0.1, 0.99].map(part => quantile({counts: [0, 10, 0, 0], bounds_s: [1, 2, 3], count: 10}, part).toFixed(2))", ["1.50", "1.10", "1.99"]),
    ("[{counts: [0, 0], bounds_s: [1], count: 0}, {counts: [1, 99], bounds_s: [10], count: 100}].map(one => formatQuantile(one, 0.5))",
     ["–", "> 10 s"]),
    ("[[1, false], [3, false], [90, false], [1500, true], [3e6, true]].map(([most, isBytes]) => niceTop(most, isBytes))",
     [2, 4, 100, 2048, 4 * 1048576]),
]


def test_units(show, actor):
    _, page = show({"app": [actor.address]})
    assert [page.run(script) for script, _ in WORDS] == [shown for _, shown in WORDS]


# ---- time passes

def test_refreshes_itself_while_somebody_looks(show, actor, dial):
    watched, page = show({"app": [actor.address]})
    accepted = "document.querySelector('#listeners tbody td:nth-child(4)').textContent"
    page.run("window.isSame = true")
    assert page.run(accepted) == "0"
    converse(watched, dial, 2)
    page.wait_for(f"{accepted} === '2'")
    assert page.run("window.isSame"), "it was loaded anew"
    page.wait_for("document.querySelector('#charts .value b').textContent !== '–'")  # the second sample has rates

    page.run("Object.defineProperty(document, 'hidden', {configurable: true, get: () => true}); document.dispatchEvent(new Event('visibilitychange'))")
    page.wait_for("!page.isAsking")
    asked = len(page.requests)
    converse(watched, dial, 1)
    page.run("new Promise(good => setTimeout(good, 2500))")  # longer than from one question to the next
    assert len(page.requests) == asked and page.run(accepted) == "2", "it asks although nobody looks"
    page.run("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
    page.wait_for(f"{accepted} === '3'")


def test_says_when_the_proxy_drains_is_gone_and_is_back(show, actor, dial, work):
    port = ringbolt.Port()
    watched, page = show({"app": [actor.address]}, config={"admin": {"http": port.text}})
    client = dial(watched.stage["app"])
    client.send_data(b"echo x\nhello")
    assert client.read(5) == b"hello"
    watched.stage.proxy.send_signal(signal.SIGTERM)
    page.wait_for("document.querySelector('#state').textContent === 'draining'")
    assert "draining" in page.text("#banner") and page.run("document.title") == "Ringbolt: draining"
    client.close_notify()
    client.end()
    watched.stage.proxy.finished()
    page.wait_for("document.querySelector('#state').textContent === 'no answer'")
    assert page.text("#banner").startswith("Ringbolt can’t be reached. What stands below is from ")
    assert page.run("document.title") == "Ringbolt: no answer"
    assert table(page, "listeners")[0]["Accepted"] == "1"  # what was known stays

    again = ringbolt.Ringbolt(work, watched.stage.config)
    try:
        page.wait_for("document.querySelector('#state').textContent === 'serving'")
        assert page.text("#banner") == "" and page.run("document.title") == "Ringbolt"
        assert table(page, "listeners")[0]["Accepted"] == "0"
        assert not [one for one in page.complaints if not one.startswith("network:")], page.complaints
    finally:
        again.stop()
        port.close()


# ---- how it looks

def test_light_and_dark_are_legible_and_a_phone_needs_no_sideways_scrolling(show, actor, dial):
    long = "a-name-that-somebody-has-made-rather-long-because-it-says-what-it-is-for"
    watched, page = show({"app": [actor.address, "127.0.0.1:1"]}, traffic=lambda watched: converse(watched, dial, 2),
                         listens={"app": {"name": long}})
    backs = []
    for scheme in ("light", "dark"):
        page.scheme(scheme)
        backs.append(page.run("getComputedStyle(document.documentElement).backgroundColor"))
        assert page.run(FAINT) == [], scheme
    assert [int(re.search(r"\d+", back).group()) > 128 for back in backs] == [True, False], backs
    for width in (PHONE, 320, 768, 1240, 2560):
        page.size(width, 800)
        assert page.run("[document.documentElement.scrollWidth, innerWidth]") == [width, width] and page.run(WIDE) == [], width
    page.size(PHONE, 800)
    assert page.run("[...document.querySelectorAll('#listeners tbody td, #listeners tbody th')].every(cell => cell.getClientRects().length > 0)")
    assert page.run("getComputedStyle(document.querySelector('#listeners tbody td'), '::before').content") == '"Address"'


def test_headings_and_tables_have_names(show, actor):
    _, page = show({"app": [actor.address]})
    tree = page.send("Accessibility.getFullAXTree")["nodes"]
    named = {}
    for node in tree:
        if not node.get("ignored"):
            named.setdefault(node["role"]["value"], []).append(node.get("name", {}).get("value", ""))
    assert len(named["table"]) == 8 and all(named["table"]), named["table"]
    assert len(named["columnheader"]) > 40 and all(named["columnheader"])
    assert named["heading"][0].startswith("Ringbolt") and {"Servers", "Listeners", "Processes", "Certificates"} <= set(named["heading"])
    charts = named.get("image", []) + named.get("img", [])
    assert len(charts) == 8 and all(charts), named.keys()


# ---- what must not happen

# Every text of the document, and every name of a counter, is this.
HOSTILE_DOCUMENT = """(() => {
    const text = %s;
    const spoil = value => typeof value === 'string' ? text : Array.isArray(value) ? value.map(spoil)
        : value && typeof value === 'object' ? Object.fromEntries(Object.entries(value).map(([key, one]) => [key, spoil(one)])) : value;
    const spoiled = spoil(page.status);
    spoiled.listeners[0].ends = {[text]: 12};
    spoiled.listeners[0].refused = {[text]: 13};
    spoiled.kernel_tls.statistics = {[text]: 14};
    spoiled.kernel_tls.reason = text;
    spoiled.uptime_s += 1;
    showStatus({...spoiled, ready: false, reason: text});
})()"""


def test_hostile_names_are_text(show, actor, work):
    chain, key = (os.path.join(work, f"hostile.{ending}") for ending in ("pem", "key"))
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", chain,
                    "-days", "90", "-subj", "/CN=<img src=x onerror=document.body.remove()>"], check=True, stderr=subprocess.DEVNULL)
    address = "unix:" + os.path.join(work, "<img src=x onerror=document.body.remove()>")
    _, page = show({"app": [actor.address]}, config={
        "listeners": [{"name": HOSTILE, "address": "127.0.0.1:0", "upstream": HOSTILE, "tls": {"certificates": [{"chain": chain, "key": key}]}}],
        "upstreams": [{"name": HOSTILE, "servers": [{"address": address}]}]})
    assert table(page, "listeners")[0]["Listener"] == HOSTILE
    assert page.run("document.querySelector('#upstreams caption').textContent").startswith(f"Upstream {HOSTILE} ")
    assert table(page, "upstreams")[0]["Server"] == address
    assert table(page, "certificates")[0]["Name"] == "(no name)"  # that subject is no host's name
    page.run(HOSTILE_DOCUMENT % json.dumps(HOSTILE))
    assert table(page, "certificates")[0]["Name"] == HOSTILE and table(page, "ends")[0] == {
        "End": HOSTILE, "What happened": "–", "Connections": "12"}
    assert page.text("#state") == HOSTILE and HOSTILE in page.text("#kernel") and HOSTILE in page.run("document.querySelector('#limits').textContent")
    assert page.run("document.querySelectorAll('img').length") == 0 and page.run("document.querySelectorAll('script').length") == 1
    assert page.complaints == []


def test_nothing_from_outside_and_nothing_unforeseen(show, actor):
    watched, page = show({"app": [actor.address]})
    origin = f"http://{watched.address[0]}:{watched.address[1]}/"
    page.wait_for("document.querySelector('#charts .value b').textContent !== '–'")
    asked = {url for url in page.requests if not url.startswith("data:")}
    assert asked == {origin, origin + "status.json"} and page.complaints == [], (asked, page.complaints)

    page.run("void document.body.append(Object.assign(document.createElement('img'), {src: location.origin + '/x.png'}))")
    ringbolt.wait_until(lambda: any("Content Security Policy" in one for one in page.complaints), "the policy has refused an image")
    with pytest.raises(AssertionError, match="TrustedHTML"):
        page.run("document.body.innerHTML = '<b>x</b>'")
