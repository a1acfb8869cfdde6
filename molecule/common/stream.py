"""A steady, bounded stream of requests to a gateway, from the gateway's own host; one line of JSON for each.

  stream.py KEY SECONDS SIDE_BY_SIDE

Every second request asks for its reply piece by piece. `outcome` is the reply's status, or silent (no answer began), or
broken (a reply began and did not end).
"""

import http.client
import json
import ssl
import sys
import threading
import time

KEY, LIFE_SECONDS, SIDE_BY_SIDE = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
# Both ask at the same moments, and seldom: for a second after each step vLLM's worker waits by spinning on a core,
# which an engine that loads on the same machine wants.
EVERY_SECONDS = 3.0
PATIENCE_SECONDS = 120
HEADERS = {"Content-Type": "application/json", "Authorization": "Bearer " + KEY}
CONTEXT = ssl.create_default_context()
CONTEXT.check_hostname, CONTEXT.verify_mode = False, ssl.CERT_NONE
SAYING = threading.Lock()


def ask(streamed):
    """Return the outcome of one request, and what is to be said of it."""
    body = {"model": "tiny", "max_tokens": 8, "stream": streamed, "messages": [{"role": "user", "content": "hello"}]}
    connection = http.client.HTTPSConnection("127.0.0.1", timeout=PATIENCE_SECONDS, context=CONTEXT)
    has_begun = False
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps(body), HEADERS)
        response = connection.getresponse()
        has_begun = response.status == http.client.OK
        text = response.read().decode()
        if not has_begun:
            return str(response.status), text[:200]
        is_whole = text.rstrip().endswith("data: [DONE]") if streamed else "choices" in json.loads(text)
        return ("200", "") if is_whole else ("broken", text[-200:])
    except (OSError, ValueError, http.client.HTTPException) as error:
        return ("broken" if has_begun else "silent"), repr(error)
    finally:
        connection.close()


def keep_asking(asker):
    """Ask again and again until the time is up."""
    streamed = asker % 2 == 0
    while time.monotonic() < END:
        began, wall = time.monotonic(), time.time()
        outcome, detail = ask(streamed)
        line = {"asker": asker, "at": wall, "seconds": round(time.monotonic() - began, 3), "streamed": streamed}
        with SAYING:
            print(json.dumps({**line, "outcome": outcome, "detail": detail}), flush=True)
        streamed = not streamed
        time.sleep(EVERY_SECONDS - time.monotonic() % EVERY_SECONDS)


END = time.monotonic() + LIFE_SECONDS
for number in range(SIDE_BY_SIDE):
    threading.Thread(target=keep_asking, args=(number,)).start()
