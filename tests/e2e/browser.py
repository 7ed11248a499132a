# SPDX-License-Identifier: Apache-2.0
"""A real Chromium without a window, driven over a pipe by its DevTools protocol (--remote-debugging-pipe): JSON messages with a zero byte
behind each."""
import base64
import fcntl
import json
import os
import shutil
import signal
import subprocess
import threading
import time

from ringbolt import WAIT

PROGRAMS = ("chromium-headless-shell", "chromium")


def program():
    """None: there is no Chromium here."""
    return next((path for path in map(shutil.which, PROGRAMS) if path), None)


class Browser:
    """One page. What it asked the network for is in `requests`, what it complained of in `complaints`."""

    def __init__(self, directory):
        to_read, write = os.pipe()
        read, to_write = os.pipe()
        theirs = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in (to_read, to_write)]
        self.requests, self.failed, self.complaints = [], [], []
        self.answers, self.last = {}, 0
        self.changed = threading.Condition()
        self.is_over = False

        def place():
            os.dup2(theirs[0], 3)
            os.dup2(theirs[1], 4)

        self.log = open(os.path.join(directory, "chromium.log"), "wb")  # noqa: SIM115
        self.process = subprocess.Popen(
            [program(), "--headless", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
             "--hide-scrollbars", "--no-proxy-server", f"--user-data-dir={os.path.join(directory, 'profile')}", "about:blank"],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, preexec_fn=place, close_fds=False, start_new_session=True,
            env={**os.environ, "HOME": directory})
        for fd in (to_read, to_write, *theirs):
            os.close(fd)
        self.to_it, self.from_it = os.fdopen(write, "wb", buffering=0), os.fdopen(read, "rb", buffering=0)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        self.session = None
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log", "Audits"):
            self.send(f"{domain}.enable")

    # ---- the protocol

    def _read(self):
        data = b""
        while True:
            try:
                more = self.from_it.read(1 << 20)
            except OSError:
                more = b""
            data += more
            *whole, data = data.split(b"\0")
            with self.changed:
                for message in whole:
                    self._take(json.loads(message))
                self.is_over = not more
                self.changed.notify_all()
            if not more:
                return

    def _take(self, message):
        method, params = message.get("method"), message.get("params", {})
        if "id" in message:
            self.answers[message["id"]] = message
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Network.responseReceived":
            self.failed += [params["response"]["url"]] if params["response"]["status"] >= 400 else []
        elif method == "Log.entryAdded":
            self.complaints.append(f"{params['entry']['source']}: {params['entry']['text']}")
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(f"exception: {params['exceptionDetails']}")
        elif method == "Runtime.consoleAPICalled":
            self.complaints.append(f"console: {params['args']}")
        elif method == "Audits.issueAdded":
            self.complaints.append(f"issue: {params['issue']}")

    def send(self, method, **params):
        message = {"method": method, "params": params}
        with self.changed:
            self.last += 1
            message["id"] = number = self.last
            if self.session:
                message["sessionId"] = self.session
            self.to_it.write(json.dumps(message).encode() + b"\0")
            deadline = time.monotonic() + WAIT
            while number not in self.answers:
                left = deadline - time.monotonic()
                if self.is_over or left <= 0 or not self.changed.wait(left):
                    raise AssertionError(f"Chromium {'ended' if self.is_over else 'gave no answer'}: {method}")
            answer = self.answers.pop(number)
        if "error" in answer:
            raise AssertionError(f"{method}: {answer['error']}")
        return answer["result"]

    # ---- the page

    def run(self, script):
        """The value of an expression; a promise is waited for."""
        done = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in done:
            raise AssertionError(f"{script}: {done['exceptionDetails']}")
        return done["result"].get("value")

    def open(self, url):
        self.send("Page.navigate", url=url)

    def wait_for(self, condition):
        """Until an expression is true, asked at every frame that the page draws."""
        self.run(f"""new Promise((good, bad) => {{
            const until = performance.now() + {WAIT * 1000};
            const look = () => {{
                if ({condition})
                    good(true);
                else if (performance.now() > until)
                    bad(new Error('waited in vain; the page says: ' + document.body.innerText.slice(0, 2000)));
                else
                    setTimeout(look, 20);
            }};
            look();
        }})""")

    def text(self, selector):
        return self.run(f"document.querySelector({json.dumps(selector)}).innerText")

    def size(self, width, height):
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)

    def scheme(self, name):
        self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    def screenshot(self, path):
        """Of the whole page."""
        data = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"]
        with open(path, "wb") as f:
            f.write(base64.b64decode(data))

    # ---- the end

    def close(self):
        self.session = None
        try:
            self.send("Browser.close")
        except (AssertionError, OSError):
            pass
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)  # its session is its own
            self.process.wait()
        self.reader.join(WAIT)
        self.to_it.close()
        self.from_it.close()
        self.log.close()
