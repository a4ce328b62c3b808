#!/usr/bin/env python3
"""Lays out each fuzzer's first inputs: seed_corpus.py INTO [RECORDINGS]

Own small texts of every format, and, where a directory of recorded exchanges is there, its bodies behind the bytes by which a fuzzer
chooses its way (see the fuzzers)."""

import gzip
import json
import sys
import zlib
from pathlib import Path

SSE = b'event: a\ndata: {"type":"message_start","message":{"id":"m","model":"c","usage":{"input_tokens":3,"output_tokens":1}}}\n\n' \
      b': ping\r\n\r\ndata: {"usage":{"output_tokens":5},"delta":{"text":"hi \\u00e9"}}\rdata: x\n\ndata: [DONE]\n\n'
CHAT = b'data: {"id":"c","model":"g","choices":[{"delta":{"content":"hi"}}],"usage":null}\n\n' \
       b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}\n\ndata: [DONE]\n\n'
REQUEST = b'{"model":"gpt-4o","stream":true,"stream_options":{"include_usage":false},"messages":[{"role":"user","content":"h\\u00e9llo"}],' \
          b'"tools":[{"name":"t"}],"max_tokens":7,"n":2,"previous_response_id":"resp_1"}'
HEADS = [b"GET /v1/models HTTP/1.1\r\nHost: a\r\nConnection: close, x\r\n\r\n",
         b"POST /v1/messages HTTP/1.1\r\nhost: a\r\ncontent-length: 12\r\nx-api-key: kh_1\r\nExpect: 100-continue\r\n\r\n",
         b"POST /v1/messages HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n",
         b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n", b"HTTP/1.0 429\r\n\r\n"]
TARGETS = [b"/v1/chat/completions", b"/openai/v1/v1/responses/resp_1?key=a&b=c", b"/v1beta/models/gemini:streamGenerateContent?alt=sse",
           b"//v1/%6dessages", b"/anthropic/v1/messages?beta=true", b"/v1/files/%2e%2e/x"]
TOML = b'[agents]\nsockets=["/a/b.sock"]\ntcp=["127.0.0.1:1"]\n[log]\nlevel="debug"\n[providers.x]\nbase_url="https://a.b/v1"\n' \
       b'api="openai"\nkey_env="K"\n[agent_gone]\npolicy="drain"\n[[prices]]\nformat="litellm"\npath="p.json"\n'
PRICES = [b'\x00[[model]]\nprovider="openai"\nname="gpt-4o"\ninput=2.5\noutput=10\n',
          b'\x01{"gpt-4o":{"litellm_provider":"openai","mode":"chat","input_cost_per_token":2.5e-06,"output_cost_per_token":1e-05}}',
          b'\x02{"openai":{"id":"openai","models":{"gpt-4o":{"id":"gpt-4o","cost":{"input":2.5,"output":10}}}}}']
ADMIN = [b'{"name":"a","limits":["usd=2.50","requests/minute=60"],"labels":{"a":"b"},"ttl":"15m","provider_keys":["x"]}',
         b"/admin/v1/sessions?limit=3&since=7d", b"/v1/sandboxes/a%2Fb/sessions", b"2026-11-21T10:00:00Z", b"24h", b"1.5d"]
PREFACE = b"\r\n\r\n\0\r\nQUIT\n" + b"\x21\x00\x00\x07" + b"\xe0\x00\x04kh_1"


def own():
    chat = CHAT[: CHAT.index(b"\n\n") + 2]
    named = b'event: d\ndata: {"type":"content_block_delta","index":0,"delta":{"text":"a"}}\n\n'
    for i, (event, text) in enumerate(((chat, b"hi"), (named, b'"a"'))):
        other = event.replace(text, text.replace(b"a", b"b\\n").replace(b"hi", b"h\\u00e9"))
        for wire in (1, 4, 8, 10):
            yield "event_skeleton_fuzz", f"own{i}-{wire}", b"\0".join((bytes([wire]) + event, other.replace(b"0", b"12").replace(b'"c"', b'"cc"'), other))
    sse_like = [SSE, CHAT, b"\xef\xbb\xbfdata: a\ndata: b\n\n", b"error: {}\n\n"]
    for i, body in enumerate(sse_like):
        yield "sse_fuzz", f"own{i}", body
        yield "include_usage_fuzz", f"own{i}", b"\x05" + body
        for wire in range(19):
            yield "meter_fuzz", f"own{i}-{wire}", bytes([wire, 16, 0, 3]) + body
    for i, body in enumerate([REQUEST, b"{}", b'{"model":1,"Model":"x"}']):
        yield "request_facts_fuzz", f"own{i}", body
    for i, head in enumerate(HEADS):
        yield "http_head_fuzz", f"own{i}", b"\0" + head
    for i, target in enumerate(TARGETS):
        yield "target_fuzz", f"own{i}", target
    for i, body in enumerate([b"5\r\nhello\r\n0\r\n\r\n", b"a;x=y\r\n0123456789\r\n0\r\nT: v\r\n\r\n"]):
        yield "chunked_fuzz", f"own{i}", b"\2" + body
    yield "config_fuzz", "own", TOML
    for i, text in enumerate(PRICES):
        yield "price_files_fuzz", f"own{i}", text
    for i, text in enumerate(ADMIN):
        yield "admin_fuzz", f"own{i}", text
    yield "preface_fuzz", "own", PREFACE
    yield "masking_fuzz", "own", b"\7before\1after\5\6sk-proj-0123"
    yield "decode_fuzz", "gzip", b"\0\3" + gzip.compress(SSE)
    yield "decode_fuzz", "deflate", b"\1\3" + zlib.compress(SSE)
    yield "journal_fuzz", "own", b"\x0c" + b"\x10\x00\x05" * 3
    payload = b'{"usage":{"inputTokens":3,"outputTokens":2}}'
    headers = b"\x0b:event-type\x07\x00\x08metadata"
    message = (16 + len(headers) + len(payload)).to_bytes(4, "big") + len(headers).to_bytes(4, "big") + b"\0\0\0\0" + headers + payload + b"\0\0\0\0"
    yield "eventstream_fuzz", "own", message
    yield "meter_fuzz", "eventstream", bytes([13, 32, 0, 2]) + message


# Of metering::wire, by the recordings' names of APIs.
WIRES = {"chat": 1, "completions": 2, "embeddings": 3, "responses": 4, "images": 5, "messages": 8, "generate-content": 10,
         "stream-generate-content": 10, "interactions": 12, "converse": 13, "converse-stream": 13, "invoke": 14, "invoke-stream": 14,
         "chat-v1": 15, "chat-v2": 15, "chat-native": 16, "generate-native": 16}


def recorded(directory):
    for meta_path in sorted(Path(directory).glob("*/meta.json")):
        meta = json.loads(meta_path.read_text())
        body = (meta_path.parent / "response.body").read_bytes()
        name = meta_path.parent.name[:60]
        if len(body) > 20_000:
            continue
        kind = 32 if body[:1] == b"\0" else 16 if b"data:" in body[:200] else 8
        yield "meter_fuzz", name, bytes([WIRES.get(meta["api"], 0), kind, 0, 3]) + body
        if kind == 32:
            yield "eventstream_fuzz", name, body
        if kind == 16:
            yield "sse_fuzz", name, body
            yield "include_usage_fuzz", name, b"\7" + body
        request = meta_path.parent / "request.json"
        if request.exists() and request.stat().st_size < 20_000:
            yield "request_facts_fuzz", name, request.read_bytes()
        wire = meta_path.parent / "response.wire"
        if wire.exists():
            yield "decode_fuzz", name, bytes([2 if meta.get("wire_encoding") == "br" else 0, 7]) + wire.read_bytes()


def main():
    into = Path(sys.argv[1])
    sources = [own()] + ([recorded(sys.argv[2])] if len(sys.argv) > 2 else [])
    for source in sources:
        for fuzzer, name, content in source:
            (into / fuzzer).mkdir(parents=True, exist_ok=True)
            (into / fuzzer / name).write_bytes(content)


if __name__ == "__main__":
    main()
