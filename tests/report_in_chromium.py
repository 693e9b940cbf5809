"""Look at a report in headless Chromium: `python tests/report_in_chromium.py report.html [FOLDER]`.

Run by hand; it needs Chromium (Debian: `apt-get install chromium`), which is spoken to through a pipe. The page is
opened on a phone and on a desk, light and dark. A console error, a request that leaves the page, text or figures wider
than the screen, or text with too little contrast ends it with 1. Screenshots and the printed PDF go to FOLDER.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SCREENS = {"phone": 390, "desk": 1200}
SCHEMES = ("light", "dark")

#: WCAG 2.2 AA: 4.5 for text, 3 for text of 24 px or more and bold text of 18.66 px or more.
MEASURE = """
(() => {
  const parse = text => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(c => c / 255)
    .map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = element => {
    for (let at = element; at; at = at.parentElement) {
      const found = parse(getComputedStyle(at).backgroundColor);
      if (found.length === 3 || found[3] > 0) return found;
    }
    return [255, 255, 255];
  };
  const pale = new Set();
  for (const element of document.querySelectorAll("body *")) {
    const text = [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
    if (!text) continue;
    const style = getComputedStyle(element);
    const ink = parse(element.closest("svg") ? style.fill : style.color);
    const [high, low] = [light(ink), light(behind(element))].sort((a, b) => b - a);
    const size = parseFloat(style.fontSize);
    const least = size >= 24 || (size >= 18.66 && style.fontWeight >= 700) ? 3 : 4.5;
    const ratio = (high + 0.05) / (low + 0.05);
    if (ratio < least) pale.add(`${element.tagName} ${element.textContent.trim().slice(0, 30)}: ${ratio.toFixed(2)}`);
  }
  const wide = [...document.querySelectorAll("body *")].filter(element => {
    const box = element.getBoundingClientRect();
    return box.right > innerWidth + 1 && !element.closest(".scroll, pre");
  });
  const seen = [...document.images].filter(image => !image.naturalWidth).length;
  return {
    width: document.documentElement.scrollWidth,
    height: document.documentElement.scrollHeight,
    wide: wide.slice(0, 5).map(element => `${element.tagName} ${element.className.baseVal ?? element.className}`),
    pale: [...pale].slice(0, 8),
    broken: seen,
  };
})()
"""


class Browser:
    """A Chromium that is told what to do through a pipe, and a page in it."""

    def __init__(self, questions: Any, answers: Any) -> None:
        self._questions, self._answers = questions, answers
        self._count = 0
        self._session = ""
        self.events: list[dict[str, Any]] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Ask for something and give the answer; events that come before it are kept."""
        self._count += 1
        message: dict[str, Any] = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._questions.write(json.dumps(message).encode() + b"\0")
        self._questions.flush()
        while True:
            answer = self._read()
            if answer.get("id") == self._count:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return dict(answer["result"])
            self.events.append(answer)

    def open(self, address: str) -> None:
        """Open a page and wait until it is loaded."""
        self.events.clear()
        self.ask("Page.navigate", url=address)
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(self._read())

    def _read(self) -> dict[str, Any]:
        """Read one message."""
        message = bytearray()
        while (sign := self._answers.read(1)) != b"\0":
            if not sign:
                raise RuntimeError("Chromium has ended")
            message += sign
        return dict(json.loads(message))


@contextmanager
def start_browser() -> Iterator[Browser]:
    """Start Chromium, and end it afterwards."""
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next((found for name in names if (found := shutil.which(name))), None)
    if program is None:
        sys.exit("no Chromium here: apt-get install chromium")
    asked, ask = os.pipe()
    answers, answer = os.pipe()
    with tempfile.TemporaryDirectory() as profile:
        command = [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"]
        command += ["--no-first-run", f"--user-data-dir={profile}", "--hide-scrollbars"]

        def connect() -> None:
            """Chromium reads what is asked from descriptor 3 and answers on 4."""
            first, second = os.dup(asked), os.dup(answer)
            os.dup2(first, 3)
            os.dup2(second, 4)

        process = subprocess.Popen(
            command,
            pass_fds=(3, 4),
            preexec_fn=connect,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            with os.fdopen(ask, "wb") as questions, os.fdopen(answers, "rb") as replies:
                yield Browser(questions, replies)
        finally:
            process.kill()
            process.wait()


def list_faults(events: list[dict[str, Any]], address: str) -> list[str]:
    """List console errors and requests for anything but the page and what it holds itself."""
    faults = []
    for event in events:
        told = event.get("params", {})
        if event["method"] == "Network.requestWillBeSent":
            url = told["request"]["url"]
            if url != address and not url.startswith("data:"):
                faults.append(f"asks for {url[:100]}")
        elif event["method"] == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
            faults.append(f"console: {told['entry']['text'][:200]}")
        elif event["method"] == "Runtime.consoleAPICalled" or event["method"] == "Runtime.exceptionThrown":
            faults.append(f"console: {str(told)[:200]}")
    return faults


def look(page: Path, folder: Path) -> list[str]:
    """Look at a page on every screen in both schemes, and print it; give what is wrong."""
    faults: list[str] = []
    address = page.resolve().as_uri()
    folder.mkdir(parents=True, exist_ok=True)
    with start_browser() as browser:
        for screen, width in SCREENS.items():
            for scheme in SCHEMES:
                browser.ask(
                    "Emulation.setDeviceMetricsOverride",
                    width=width,
                    height=844,
                    deviceScaleFactor=1,
                    mobile=screen == "phone",
                )
                features = [{"name": "prefers-color-scheme", "value": scheme}]
                browser.ask("Emulation.setEmulatedMedia", features=features)
                browser.open(address)
                found = browser.ask("Runtime.evaluate", expression=MEASURE, returnByValue=True)["result"][
                    "value"
                ]
                where = f"{screen}, {scheme}"
                faults += [f"{where}: {fault}" for fault in list_faults(browser.events, address)]
                faults += [f"{where}: wider than the screen: {name}" for name in found["wide"]]
                faults += [f"{where}: contrast of {name}" for name in found["pale"]]
                if found["width"] > width:
                    faults.append(f"{where}: the page is {found['width']} px wide")
                if found["broken"]:
                    faults.append(f"{where}: {found['broken']} pictures do not show")
                clip = {"x": 0, "y": 0, "width": width, "height": found["height"], "scale": 1}
                shot = browser.ask(
                    "Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip
                )
                (folder / f"{page.stem}-{screen}-{scheme}.png").write_bytes(base64.b64decode(shot["data"]))
                print(f"{where}: {width}×{found['height']} px")
        browser.ask("Emulation.setEmulatedMedia", media="print", features=[])
        pdf = browser.ask("Page.printToPDF", preferCSSPageSize=True, printBackground=True)
        (folder / f"{page.stem}.pdf").write_bytes(base64.b64decode(pdf["data"]))
    return faults


def main(arguments: list[str]) -> int:
    """Look at the page that is named, and say what is wrong with it."""
    if not 1 <= len(arguments) <= 2:
        print(__doc__)
        return 2
    folder = Path(arguments[1]) if len(arguments) == 2 else Path(tempfile.mkdtemp(prefix="report-"))
    faults = look(Path(arguments[0]), folder)
    print("\n".join(faults) or "nothing wrong")
    print(folder)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
