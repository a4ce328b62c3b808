"""Anthropic's shapes: messages, count_tokens, message batches, models."""

import json

from delivery import Answer
from inventions import count_tokens, ident, number, seed_of
from openai_api import called, dump, in_pieces, said

MODELS = (("claude-opus-4-5", "Claude Opus 4.5"), ("claude-sonnet-4-5", "Claude Sonnet 4.5"), ("claude-haiku-4-5", "Claude Haiku 4.5"))


def fields(seed, content_type="application/json"):
    return [("content-type", content_type), ("request-id", ident(seed, "req_", 24, "request")),
            ("anthropic-organization-id", "00000000-demo-0000-0000-000000000000"), ("anthropic-ratelimit-requests-limit", "4000"),
            ("anthropic-ratelimit-requests-remaining", "3999")]


def error(status, kind, message, seed="0"):
    return Answer(status, fields(seed), dump({"type": "error", "error": {"type": kind, "message": message},
                                              "request_id": ident(seed, "req_", 24, "request")}))


KINDS = {400: "invalid_request_error", 401: "authentication_error", 402: "billing_error", 403: "permission_error", 404: "not_found_error",
         413: "request_too_large", 429: "rate_limit_error", 500: "api_error", 504: "timeout_error", 529: "overloaded_error"}


def error_of_status(status, seed="0"):
    return error(status, KINDS.get(status, "api_error"), "Overloaded" if status == 529 else f"The demo provider was asked to answer {status}.",
                 seed)


def wrong_key(presented, whole=False):
    if not presented:
        return error(401, "authentication_error", "x-api-key header is required")
    return error(401, "authentication_error", f"invalid x-api-key: {presented}" if whole else "invalid x-api-key")


def spent(usage, reported_output):
    return {"input_tokens": usage.input, "cache_creation_input_tokens": usage.cache_write_5m + usage.cache_write_1h,
            "cache_read_input_tokens": usage.cache_read,
            "cache_creation": {"ephemeral_5m_input_tokens": usage.cache_write_5m, "ephemeral_1h_input_tokens": usage.cache_write_1h},
            "output_tokens": reported_output, "service_tier": "standard"}


def messages(request, store):
    body, seed = request.json, seed_of(request)
    for name in ("model", "max_tokens", "messages"):
        if name not in body:
            return error(400, "invalid_request_error", f"{name}: Field required", seed)
    text, usage = said(request, seed, [body["messages"], body.get("system"), body.get("tools")], ("max_tokens",))
    report = "no_usage" not in request.faults
    final = spent(usage, usage.completion) if report else None
    base = {"model": request.faults.get("answer_model") or request.model, "id": ident(seed, "msg_01", 22), "type": "message",
            "role": "assistant"}
    reason = "max_tokens" if usage.cut else "end_turn"
    signature = ident(seed, "EuoC", 60, "signature")
    thought = f"I count to {usage.reasoning} before I speak."
    tool = None
    if named := called(request):
        tool = {"type": "tool_use", "id": ident(seed, "toolu_01", 22), "name": named[0], "input": named[1]}
        reason = "tool_use"
    if not body.get("stream"):
        content = [{"type": "thinking", "thinking": thought, "signature": signature}] if usage.reasoning else []
        content.append({"type": "text", "text": "".join(text)})
        if tool:
            content.append(tool)
        whole = {**base, "content": content, "stop_reason": reason, "stop_sequence": None, **({"usage": final} if report else {})}
        return Answer(200, fields(seed), dump(whole), usage=final)

    def event(kind, **members):
        # Anthropic pads its lines with spaces; whoever re-serialises is found out.
        padding = b" " * (len(kind) * 7 % 15)
        return f"event: {kind}\ndata: ".encode() + dump({"type": kind, **members})[:-1] + padding + b"}\n\n"

    def events():
        start = {**base, "content": [], "stop_reason": None, "stop_sequence": None}
        if report:
            start["usage"] = spent(usage, 1)
        yield event("message_start", message=start)
        index = 0
        if usage.reasoning:
            yield event("content_block_start", index=0, content_block={"type": "thinking", "thinking": "", "signature": ""})
            for at in range(0, len(thought), 9):
                yield event("content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": thought[at: at + 9]})
            yield event("content_block_delta", index=0, delta={"type": "signature_delta", "signature": signature})
            yield event("content_block_stop", index=0)
            index = 1
        yield event("content_block_start", index=index, content_block={"type": "text", "text": ""})
        for _ in range(int(request.faults.get("pings") or 1)):
            yield b'event: ping\ndata: {"type": "ping"}\n\n'
        for word in text:
            yield event("content_block_delta", index=index, delta={"type": "text_delta", "text": word})
        yield event("content_block_stop", index=index)
        if tool:
            yield event("content_block_start", index=index + 1, content_block={**tool, "input": {}})
            for piece in ("", *in_pieces(dump(tool["input"]).decode())):
                yield event("content_block_delta", index=index + 1, delta={"type": "input_json_delta", "partial_json": piece})
            yield event("content_block_stop", index=index + 1)
        last = {k: final[k] for k in ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")} if report \
            else {}
        yield event("message_delta", delta={"stop_reason": reason, "stop_sequence": None}, **({"usage": last} if report else {}))
        yield event("message_stop")

    broken = b"event: error\ndata: " + dump({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"},
                                             "request_id": ident(seed, "req_", 24, "request")}) + b"\n\n"
    return Answer(200, fields(seed, "text/event-stream; charset=utf-8"), events=events(), usage=final, error_event=broken)


def batches(request, store, tail):
    ident_, _, action = tail.partition("/")
    if request.method == "POST" and not tail:
        seed = seed_of(request)
        asked = request.json.get("requests", [])
        made = {"id": ident(seed, "msgbatch_01", 22), "type": "message_batch", "processing_status": "in_progress",
                "request_counts": {"processing": len(asked), "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0},
                "ended_at": None, "created_at": "2026-01-01T00:00:00Z", "expires_at": "2026-01-02T00:00:00Z", "results_url": None}
        store.message_batches[made["id"]] = (made, asked)
        return Answer(200, fields(seed), dump(made))
    if not tail:
        return Answer(200, fields("batches"), dump({"data": [b for b, _ in store.message_batches.values()], "has_more": False}))
    if ident_ not in store.message_batches:
        return error(404, "not_found_error", f"batch not found: {ident_}")
    made, asked = store.message_batches[ident_]
    if action == "results":
        lines = []
        for item in asked:
            params = item.get("params", {})
            tokens = max(1, count_tokens(params.get("messages")))
            seed = ident(json.dumps(item, sort_keys=True), "", 40)
            lines.append(dump({"custom_id": item.get("custom_id"), "result": {"type": "succeeded", "message": {
                "id": ident(seed, "msg_01", 22), "type": "message", "role": "assistant", "model": params.get("model"),
                "content": [{"type": "text", "text": "done"}], "stop_reason": "end_turn",
                "usage": {"input_tokens": tokens, "output_tokens": number(seed, "out", 3, 9)}}}}) + b"\n")
        return Answer(200, fields(ident_, "application/x-jsonl"), b"".join(lines))
    if request.method == "DELETE":
        return Answer(200, fields(ident_), dump({"id": ident_, "type": "message_batch_deleted"}))
    state = "canceling" if action == "cancel" else "ended"
    return Answer(200, fields(ident_), dump({**made, "processing_status": state}))


def models(request, tail):
    def entry(name, title):
        return {"type": "model", "id": name, "display_name": title, "created_at": "2025-10-01T00:00:00Z"}
    if tail:
        for name, title in MODELS:
            if name == tail:
                return Answer(200, fields(tail), dump(entry(name, title)))
        return error(404, "not_found_error", f"model: {tail}")
    data = [entry(*m) for m in MODELS]
    return Answer(200, fields("models"), dump({"data": data, "has_more": False, "first_id": MODELS[0][0], "last_id": MODELS[-1][0]}))


def answer(request, store):
    path = request.path.removeprefix("/v1/").rstrip("/")
    if path == "models" or path.startswith("models/"):
        return models(request, path[7:]) if request.method in ("GET", "HEAD") else None
    if path == "messages/batches" or path.startswith("messages/batches/"):
        return batches(request, store, path[17:])
    if request.method != "POST" or path not in ("messages", "messages/count_tokens"):
        return None
    if not isinstance(request.json, dict):
        return error(400, "invalid_request_error", "The request body is not valid JSON")
    if request.model.startswith("no-such"):
        return error(404, "not_found_error", f"model: {request.model}")
    if path == "messages/count_tokens":
        counted = count_tokens([request.json.get("messages"), request.json.get("system"), request.json.get("tools")]) + 7
        return Answer(200, fields("count"), dump({"input_tokens": counted}))
    return messages(request, store)
