"""What the demo provider answers: words and token counts that are a pure function of the request, so that two runs can be
compared byte for byte. No AI is computed here."""

import hashlib
import json
import re

WORDS = ("the a quiet keyhole lets light pass while doors stay closed and every small river remembers its own mountain "
         "under slow clouds where seven lanterns count falling leaves über naïve 東京 🦊 before winter").split()


def seed_of(request):
    """A hash of what was asked. How the answer is delivered (stream, stream_options) doesn't change what is said."""
    asked = request.json
    if isinstance(asked, dict):
        asked = {k: v for k, v in asked.items() if k not in ("stream", "stream_options")}
        raw = json.dumps(asked, sort_keys=True, ensure_ascii=False).encode()
    elif request.form:  # a form's boundary is random
        raw = json.dumps({k: hashlib.sha256(v[0]).hexdigest() for k, v in request.form.items()}, sort_keys=True).encode()
    else:
        raw = request.body
    return hashlib.sha256(request.path.encode() + b"\0" + raw).hexdigest()


def number(seed, name, low, high):
    """A number between low and high, both included."""
    drawn = int(hashlib.sha256(f"{seed}/{name}".encode()).hexdigest()[:12], 16)
    return low + drawn % (high - low + 1)


def ident(seed, prefix, length=24, name=""):
    return prefix + hashlib.sha256(f"{seed}/id/{name}".encode()).hexdigest()[:length]


def timestamp(seed):
    return number(seed, "time", 1_750_000_000, 1_790_000_000)


def words(seed, count):
    """`count` tokens of text; all but the first begin with a space."""
    step = number(seed, "step", 1, len(WORDS) - 1)
    at = number(seed, "start", 0, len(WORDS) - 1)
    for index in range(count):
        word = WORDS[(at + index * step + index // 7) % len(WORDS)]
        yield word if index == 0 else " " + word


def count_tokens(value):
    """Words of every string in it, plus one for each object: some plausible number that depends on all of the prompt."""
    if isinstance(value, str):
        return len(re.findall(r"\S+", value))
    if isinstance(value, dict):
        return 1 + sum(count_tokens(v) for v in value.values())
    if isinstance(value, list):
        return sum(count_tokens(v) for v in value)
    return 0


class Usage:
    """Disjoint counts, from which each API's own (overlapping) fields are made."""

    def __init__(self, seed, model, prompt, wanted_words, max_tokens):
        total = max(1, count_tokens(prompt)) + 7
        self.cache_read = self.cache_write_5m = self.cache_write_1h = 0
        if "cached" in model:
            self.cache_read = total // 2
            self.cache_write_5m = total // 8
            self.cache_write_1h = total // 16
        self.input = total - self.cache_read - self.cache_write_5m - self.cache_write_1h
        thinks = "reasoning" in model or "thinking" in model or re.match(r"o\d", model) is not None
        self.reasoning = number(seed, "reasoning", 5, 40) if thinks else 0
        self.words = wanted_words
        self.cut = False
        if max_tokens is not None and self.reasoning + self.words > max_tokens:
            self.reasoning = min(self.reasoning, max_tokens)
            self.words = max_tokens - self.reasoning
            self.cut = True

    @property
    def prompt(self):
        return self.input + self.cache_read + self.cache_write_5m + self.cache_write_1h

    @property
    def completion(self):
        return self.words + self.reasoning
