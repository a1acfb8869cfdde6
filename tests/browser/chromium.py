"""A page in a headless Chromium, at several widths at once, and what a script finds there."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--virtual-time-budget=20000",
)
DARK = "--blink-settings=preferredColorScheme=0"
# A window is never narrower than 500 pixels; a frame is as narrow as it is told to be, and answers media queries.
FRAMES = """<!DOCTYPE html><body><script>
const page = %s, found = {}, widths = %s;
for (const width of widths) {
  const frame = document.createElement("iframe");
  frame.style = `border:0;width:${width}px;height:900px`;
  frame.onload = () => {
    found[width] = (%s)(frame.contentDocument, frame.contentWindow);
    if (Object.keys(found).length === widths.length) {
      document.body.innerHTML = "<pre></pre>";
      document.querySelector("pre").textContent = JSON.stringify(found);
    }
  };
  frame.srcdoc = page;
  document.body.append(frame);
}
</script>"""


def examine(page: str, script: str, widths: list[int], folder: Path, dark: bool = False) -> dict[int, Any]:
    """Return what a JavaScript function of (document, window) returns for a page, by its width in pixels."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    assert chromium, "expected chromium, found none: apt-get install chromium"
    text = FRAMES % (json.dumps(page).replace("</", "<\\/"), json.dumps(widths), script)
    source = folder / "frames.html"
    source.write_text(text, "utf-8")
    command = [chromium, *FLAGS, *([DARK] if dark else []), f"--user-data-dir={folder / 'profile'}", "--dump-dom"]
    done = subprocess.run([*command, source.as_uri()], capture_output=True, text=True, timeout=120, check=False)
    found = re.search(r"<pre>(.*)</pre>", done.stdout, re.DOTALL)
    assert found, f"expected a result of the script, found:\n{done.stderr[-2000:]}"
    return {int(width): value for width, value in json.loads(html.unescape(found.group(1))).items()}
