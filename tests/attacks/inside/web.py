"""Attacks on the framing of requests, on the destination and on the credential (C1 6 and 7)."""
import os

from kit import BODY, attempt, connect_bridge, is_answered, post, statuses, talk

REFUSED, FINE = {400, 501}, {200}
SECOND = b"GET /v1/models HTTP/1.1\r\nhost: smuggled\r\n\r\n"
CHUNKED = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)


def get(path, *lines, verb=b"GET"):
    return b"\r\n".join([verb + b" " + path + b" HTTP/1.1", b"host: x", *lines, b"connection: close"]) + b"\r\n\r\n"


TABLE = [
    ("length and chunks", post(b"transfer-encoding: chunked", body=b"0\r\n\r\n" + SECOND), REFUSED),
    ("two lengths", post(b"content-length: 3"), REFUSED),
    ("a list of lengths", post(b"content-length: %d, 3" % len(BODY), length=False), REFUSED),
    ("a length with a sign", post(b"content-length: +%d" % len(BODY), length=False), REFUSED),
    ("an unknown coding", post(b"transfer-encoding: xchunked", length=False, body=CHUNKED), REFUSED),
    ("chunked, identity", post(b"transfer-encoding: chunked, identity", length=False, body=CHUNKED), REFUSED),
    ("chunked behind a tab", post(b"transfer-encoding:\tchunked", length=False, body=CHUNKED), REFUSED | FINE),
    ("a space before the colon", post(b"transfer-encoding : chunked", length=False, body=CHUNKED), REFUSED),
    ("a folded field", post(b"x-a: 1\r\n transfer-encoding: chunked"), REFUSED),
    ("a bare CR in a value", post(b"x-a: 1\rauthorization: Bearer mine"), REFUSED),
    ("a bare LF in a value", post(b"x-a: 1\nauthorization: Bearer mine"), REFUSED | FINE),
    ("a NUL in a value", post(b"x-a: 1\0b"), REFUSED),
    ("two hosts", post(b"host: y"), REFUSED),
    ("connection names the framing", post(b"connection: content-length, authorization, host, x-api-key", close=False), FINE | REFUSED),
    ("an absolute URI elsewhere", post(path=b"http://169.254.169.254/v1/chat/completions"), FINE | {400, 403, 404, 421}),
    ("two slashes and a host", post(path=b"//evil.example/v1/chat/completions"), {400, 404}),
    ("authority form", b"CONNECT api.openai.com:443 HTTP/1.1\r\nhost: api.openai.com:443\r\n\r\n", {400, 405}),
    ("X-Forwarded-Host and friends", post(b"x-forwarded-host: evil.example", b"x-original-url: /admin/v1/sessions", b"x-rewrite-url: /metrics",
                                          b"forwarded: host=evil.example"), FINE),
    ("h2c", post(b"upgrade: h2c", b"http2-settings: AAMAAABkAAQAAP__", b"connection: upgrade, http2-settings", close=False), {200, 400, 426}),
    ("prior knowledge of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400, 405, 505}),
    ("a WebSocket", get(b"/v1/responses", b"upgrade: websocket", b"sec-websocket-version: 13", b"sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA=="), {400, 405, 426}),
    ("dots in the path", get(b"/v1/models/../../admin"), {400, 404}),
    ("encoded dots", get(b"/v1/models/%2e%2e/%2e%2e/v1/organization/admin_api_keys"), {400, 404}),
    ("an encoded slash in an id", get(b"/v1/files/..%2f..%2fv1%2forganization%2fadmin_api_keys"), {400, 404}),
    ("an encoded backslash in an id", get(b"/v1/models/..%5c..%5corganization"), {400, 404}),
    ("a dot segment as id", get(b"/v1/files/..", verb=b"DELETE"), {400, 403, 404}),
    ("TRACE", get(b"/v1/models", verb=b"TRACE"), {400, 404, 405}),
    ("an organisation's keys", get(b"/v1/organization/admin_api_keys"), {404}),
    ("a head of 1 MiB", post(b"x-a: " + b"a" * (1 << 20)), {400, 413, 431}),
    ("100,000 fields", post(*[b"a: b"] * 100_000), {400, 413, 431}),
]


def run():
    for name, request, allowed in TABLE:
        def broke(request=request, allowed=allowed):
            got = statuses(talk(request, connect_bridge, 3))
            # No answer is as good as 400; two answers are two requests.
            return "" if (got and got[0] in allowed and len(got) <= 1) or (not got and 400 in allowed) else got or "no answer"
        attempt(7, f"request: {name}", broke, is_answered)
    own = {"every credential of one's own": [b"authorization: Bearer mine-1", b"x-goog-api-key: mine-3", b"api-key: mine-4", b"cookie: a=mine-5",
                                             b"proxy-authorization: Basic mine-6"],
           "x_api_key": [b"x_api_key: mine-7"], "two authorizations": [b"authorization: Bearer mine-8", b"authorization: Bearer mine-9"]}
    for name, lines in own.items():
        attempt(7, f"credentials: {name}", lambda lines=lines: b"sk-" in talk(post(*lines), connect_bridge, 3), is_answered)
    part = os.environ["KEY_PART"].encode()  # from its middle: enough to know it by, no use to anybody
    for fault in ("echo_key", "echo_key_success", "echo_key_stream", "echo_key_header", "echo_key,gzip", "echo_key_stream,chunking=bytes"):
        body = BODY[:-1] + b',"stream":%s,"metadata":{"demo":"%s"}}' % (b"true" if "stream" in fault else b"false", fault.encode())
        attempt(6, f"the provider is made to repeat its key: {fault}", lambda body=body: part in talk(post(body=body), connect_bridge, 5), is_answered)
