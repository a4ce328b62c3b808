"""A neighbour who only works: one request after another through its own bridge, to a provider of its own; a JSON line each: when, how long, with what
status."""
import json
import time

from kit import post, statuses, talk

ASK = post(b"anthropic-version: 2023-06-01", path=b"/v1/messages",
           body=b'{"model":"claude-sonnet-4-5","max_tokens":16,"messages":[{"role":"user","content":"x"}]}')

while True:
    begun = time.monotonic()
    got = statuses(talk(ASK, wait=30))
    print(json.dumps({"at": time.time(), "ms": (time.monotonic() - begun) * 1000, "status": got[0] if got else 0}), flush=True)
    time.sleep(0.01)
