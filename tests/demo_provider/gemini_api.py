"""Google's shapes: generateContent and streamGenerateContent with function calls, countTokens, embeddings, models."""

import json
import re
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

from delivery import Answer
from inventions import count_tokens, ident, number, seed_of
from openai_api import called, dump, in_pieces, said

MODELS = ("gemini-3.8-flash", "gemini-3.5-flash-lite", "gemini-2.5-pro")
ADDRESS = re.compile(r"/v1(?:beta|alpha)?/models/([^/:]+):(\w+)$")
STATES = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED",
          500: "INTERNAL", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED"}


def is_for_google(request):
    return request.path.startswith(("/v1beta/", "/v1alpha/")) or ADDRESS.match(request.path) is not None or bool(request.get("x-goog-api-key"))


def model_of(path):
    """The address names the model, not the body."""
    named = ADDRESS.match(path)
    return named[1] if named else ""


def presented_key(request):
    return request.get("x-goog-api-key") or parse_qs(urlsplit(request.target).query).get("key", [""])[0]


def fields(content_type="application/json; charset=UTF-8"):
    return [("content-type", content_type), ("vary", "Origin"), ("vary", "X-Origin"), ("server", "scaffolding on HTTPServer2"),
            ("server-timing", "gfet4t7; dur=180")]


def pretty(value):
    return json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n"


def error(status, message, details=()):
    inner = {"code": status, "message": message, "status": STATES.get(status, "UNKNOWN")}
    if details:
        inner["details"] = list(details)
    return Answer(status, fields(), pretty({"error": inner}))


def error_of_status(status, seed="0"):
    return error(status, f"The demo provider was asked to answer {status}.")


def wrong_key(presented, whole=False):
    if not presented:
        return error(403, "Method doesn't allow unregistered callers (callers without established identity).")
    reason = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"}
    shown = f" It was: {presented}" if whole else ""
    return error(400, "API key not valid. Please pass a valid API key." + shown, [reason])


def spent(usage, output):
    """A zero is not printed, as Google does it."""
    counts = {"promptTokenCount": usage.prompt, "candidatesTokenCount": output, "totalTokenCount": usage.prompt + usage.reasoning + output,
              "cachedContentTokenCount": usage.cache_read, "thoughtsTokenCount": usage.reasoning}
    return {**{k: v for k, v in counts.items() if v}, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": usage.prompt}]}


def instance_of(schema, seed):
    """Some value that a JSON schema (Google's spelling or the usual one) admits."""
    if schema.get("enum"):
        return schema["enum"][0]
    kind = str(schema.get("type", "object")).lower()
    if kind == "object":
        return {name: instance_of(inner, seed) for name, inner in (schema.get("properties") or {}).items()}
    if kind == "array":
        return [instance_of(schema.get("items") or {"type": "string"}, seed)]
    if kind in ("integer", "number"):
        return schema.get("minimum", 1)
    return kind == "boolean" or "as asked"


def generate(request, stream):
    body = request.json
    if not isinstance(body.get("contents"), list):
        return error(400, "* GenerateContentRequest.contents: contents is not specified\n")
    # Limits stand deeper than other APIs have them; and whole or as a stream, the same is said.
    config = body.get("generationConfig") or {}
    limited = SimpleNamespace(json={**body, **config}, path=request.model, faults=request.faults, model=request.model, presented=request.presented)
    seed = seed_of(limited)
    text, usage = said(limited, seed, [body["contents"], body.get("systemInstruction"), body.get("tools")], ("maxOutputTokens",))
    schema = config.get("responseJsonSchema") or config.get("responseSchema")
    if isinstance(schema, dict):
        text = in_pieces(json.dumps(instance_of(schema, seed)), 24)
        usage.words = len(text)
    report = "no_usage" not in request.faults
    final = spent(usage, usage.words) if report else None
    named = None if schema else called(request)
    same = {"modelVersion": request.faults.get("answer_model") or request.model, "responseId": ident(seed, "", 22, "response")}

    def event(parts, finish=None, reported=None):
        candidate = {"content": {"parts": parts, "role": "model"}, **({"finishReason": finish} if finish else {}), "index": 0}
        return {"candidates": [candidate], **({"usageMetadata": reported} if reported else {}), **same}

    finish = "MAX_TOKENS" if usage.cut else "STOP"
    call = [{"functionCall": {"name": named[0], "args": named[1]}, "thoughtSignature": ident(seed, "CsoB", 40, "signature")}] if named else []
    if not stream:
        return Answer(200, fields(), pretty(event([{"text": "".join(text)}, *call], finish, final)), usage=final)

    def pieces():
        for index, word in enumerate(text):
            last = index == len(text) - 1 and not call
            yield event([{"text": word}], finish if last else None, final if last else report and spent(usage, index + 1))
        if call or not text:
            yield event(call or [{"text": ""}], finish, final)

    if "alt=sse" in request.target:
        events = (b"data: " + dump(piece) + b"\r\n\r\n" for piece in pieces())
        return Answer(200, fields("text/event-stream"), events=events, usage=final, error_event=b"data: " + dump(broken()) + b"\r\n\r\n")
    listed = ((b"[" if index == 0 else b",\r\n") + pretty(piece).rstrip() for index, piece in enumerate(pieces()))
    return Answer(200, fields(), events=(part for parts in (listed, [b"\n]\n"]) for part in parts), usage=final, error_event=b",\r\n" + pretty(broken()))


def broken():
    return {"error": {"code": 503, "message": "The model is overloaded. Please try again later.", "status": "UNAVAILABLE"}}


def embed(request, many):
    asked = request.json.get("requests", []) if many else [request.json]
    made = [{"values": [round(number(f"{seed_of(request)}{i}{j}", "v", -9999, 9999) / 1e4, 4) for j in range(8)]} for i in range(len(asked))]
    return Answer(200, fields(), pretty({"embeddings": made} if many else {"embedding": made[0]}))


def models(name):
    entries = [{"name": f"models/{m}", "version": "001", "displayName": m, "inputTokenLimit": 1_048_576, "outputTokenLimit": 65_536,
                "supportedGenerationMethods": ["generateContent", "countTokens"]} for m in MODELS]
    if name:
        found = [e for e in entries if e["name"] == f"models/{name}"]
        return Answer(200, fields(), pretty(found[0])) if found else error(404, f"models/{name} is not found for API version v1beta")
    return Answer(200, fields(), pretty({"models": entries}))


def answer(request, store):
    listed = re.match(r"/v1(?:beta|alpha)?/models/?([^/:]*)$", request.path)
    if listed and request.method in ("GET", "HEAD"):
        return models(listed[1])
    address = ADDRESS.match(request.path)
    if request.method != "POST" or address is None:
        return None
    if not isinstance(request.json, dict):
        return error(400, "Invalid JSON payload received. Unexpected end of string.")
    if request.model.startswith("no-such"):
        return error(404, f"models/{request.model} is not found for API version v1beta, or is not supported for {address[2]}.")
    verbs = {"generateContent": lambda: generate(request, False), "streamGenerateContent": lambda: generate(request, True),
             "embedContent": lambda: embed(request, False), "batchEmbedContents": lambda: embed(request, True),
             "countTokens": lambda: Answer(200, fields(), pretty({"totalTokens": count_tokens(request.json) + 7}))}
    return verbs[address[2]]() if address[2] in verbs else None
