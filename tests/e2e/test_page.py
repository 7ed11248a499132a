# SPDX-License-Identifier: Apache-2.0
"""How the page at / of admin.http is served. (What it shows is test_page_browser.py's.)"""
import base64
import hashlib
import re

import pytest

import metrics

pytestmark = pytest.mark.any_layer


def test_the_page_may_do_the_least_it_needs(start, actor):
    watched = metrics.Watched(start({"app": [actor.address]}, config={"admin": {"http": "127.0.0.1:0"}}))
    status, headers, body = watched.fetch("/")
    assert status == 200 and headers["Content-Type"] == "text/html; charset=utf-8" and headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff" and headers["X-Frame-Options"] == "DENY" and headers["Referrer-Policy"] == "no-referrer"
    policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
    for name in ("style", "script"):
        text = re.search(rb"<%b>(.*?)</%b>" % (name.encode(), name.encode()), body, re.S).group(1)
        assert policy[f"{name}-src"] == f"'sha256-{base64.b64encode(hashlib.sha256(text).digest()).decode()}'"
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == policy["frame-ancestors"] == "'none'"
    assert policy["connect-src"] == "'self'" and not re.search(rb"https?://(?!www\.w3\.org/2000/svg)", body)
    status, headers, nothing = watched.fetch("/", method="HEAD")
    assert status == 200 and int(headers["Content-Length"]) == len(body) and nothing == b""
