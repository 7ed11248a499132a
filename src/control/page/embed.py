#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Makes one page of page.html, its style and its scripts, and a C file of that, with the Content-Security-Policy that allows what is
in it and nothing else. Called by the build.

    embed.py OUTPUT.c page.html page.css SCRIPT.js …
"""
import base64
import hashlib
import sys


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def digest(text):
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


def insert(page, name, text):
    empty = f"<{name}></{name}>"
    if page.count(empty) != 1 or f"</{name}" in text.lower() or "<!--" in text:
        raise SystemExit(f"embed.py: {name}: needs one place in the page, and must not end there itself")
    return page.replace(empty, f"<{name}>{text}</{name}>")


def main():
    output, html, css, *scripts = sys.argv[1:]
    style, script = read(css), "".join(read(path) for path in scripts)
    page = insert(insert(read(html), "style", style), "script", script).encode()
    policy = "; ".join(["default-src 'none'", f"script-src {digest(script)}", f"style-src {digest(style)}", "img-src data:", "connect-src 'self'",
                        "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'", "require-trusted-types-for 'script'", "trusted-types 'none'"])
    lines = [", ".join(str(byte) for byte in page[at:at + 32]) for at in range(0, len(page), 32)]
    with open(output, "w", encoding="ascii") as file:
        file.write('// Made by src/control/page/embed.py.\n#include "src/control/http_page.h"\n\n'
                   f'const char http_page_policy[] = "{policy}";\n'
                   "const unsigned char http_page[] = {\n    " + ",\n    ".join(lines) + "};\n"
                   "const size_t http_page_length = sizeof(http_page);\n")


if __name__ == "__main__":
    main()
