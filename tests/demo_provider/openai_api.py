"""OpenAI's shapes: chat completions, completions, responses, embeddings, moderations, images, audio, files, batches, models."""

import base64
import hashlib
import json
import re
import struct

from conversation import wish
from delivery import Answer
from inventions import Usage, count_tokens, ident, number, seed_of, timestamp, words

MODELS = ("gpt-5", "gpt-5-mini", "gpt-4o", "gpt-4o-mini", "o3", "demo-cached", "demo-reasoning", "text-embedding-3-small")


def dump(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def pretty(value):
    """OpenAI indents whole bodies by two spaces."""
    return json.dumps(value, indent=2, ensure_ascii=False).encode()


def fields(seed, content_type="application/json"):
    return [("content-type", content_type), ("x-request-id", ident(seed, "req_", 32, "request")), ("openai-version", "2020-10-01"),
            ("openai-organization", "org-demo"), ("openai-processing-ms", str(number(seed, "ms", 5, 900))),
            ("x-ratelimit-limit-requests", "10000"), ("x-ratelimit-remaining-requests", "9999"), ("x-ratelimit-reset-requests", "6ms")]


def error(status, message, kind="invalid_request_error", code=None, param=None, seed="0"):
    return Answer(status, fields(seed), pretty({"error": {"message": message, "type": kind, "param": param, "code": code}}))


ERRORS = {400: ("invalid_request_error", None), 401: ("invalid_request_error", "invalid_api_key"), 403: ("permission_error", None),
          404: ("invalid_request_error", "model_not_found"), 429: ("requests", "rate_limit_exceeded"), 500: ("server_error", None),
          503: ("server_error", "overloaded")}


def error_of_status(status, seed="0"):
    kind, code = ERRORS.get(status, ("server_error" if status >= 500 else "invalid_request_error", None))
    return error(status, f"The demo provider was asked to answer {status}.", kind, code, seed=seed)


def wrong_key(presented, whole=False):
    if not presented:
        return error(401, "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth "
                          "(i.e. Authorization: Bearer YOUR_KEY).")
    shown = presented if whole else presented[:8] + "*" * max(4, len(presented) - 12) + presented[-4:]
    return error(401, f"Incorrect API key provided: {shown}. You can find your API key at "
                      "https://platform.openai.com/account/api-keys.", code="invalid_api_key")


def said(request, seed, prompt, names):
    """The text's words and the usage behind every generating endpoint."""
    limits = [request.json[n] for n in names if isinstance(request.json.get(n), int)]
    wanted = int(request.faults.get("words") or number(seed, "words", 6, 30))
    usage = Usage(seed, request.model, prompt, wanted, min(limits) if limits else None)
    fat = "x" * int(request.faults.get("fat") or 0)
    text = [w + fat for w in words(seed, usage.words)]
    wanted_by_prompt = wish(request.json)
    if wanted_by_prompt and wanted_by_prompt[0] == "say":
        text = [w for w in re.split(r"(?<=\s)", wanted_by_prompt[1]) if w]
        usage.words = len(text)
    if "echo_key_stream" in request.faults or "echo_key_success" in request.faults:
        half = len(request.presented) // 2
        text += [" ", request.presented[:half], request.presented[half:], "!"]
    return text, usage


def called(request):
    """(name, arguments) where the answer is to be a tool call."""
    wanted = wish(request.json)
    if wanted and wanted[0] == "call":
        return wanted[1], wanted[2]
    return ("shell", {"command": "echo 1, 2"}) if "tool_call" in request.faults else None


def in_pieces(text, size=9):
    return [text[at: at + size] for at in range(0, len(text), size)]


def chat_usage(usage):
    return {"prompt_tokens": usage.prompt, "completion_tokens": usage.completion, "total_tokens": usage.prompt + usage.completion,
            "prompt_tokens_details": {"cached_tokens": usage.cache_read, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": usage.reasoning, "audio_tokens": 0, "accepted_prediction_tokens": 0,
                                          "rejected_prediction_tokens": 0}}


def answered_model(request):
    model = request.faults.get("answer_model") or request.model
    return model if re.search(r"\d{4}-\d\d-\d\d$", model) or request.faults.get("answer_model") or not model.startswith("gpt-4o") \
        else model + "-2024-08-06"


def chat(request, store):
    body, seed = request.json, seed_of(request)
    if not isinstance(body.get("messages"), list):
        return error(400, "Missing required parameter: 'messages'.", code="missing_required_parameter", param="messages")
    text, usage = said(request, seed, [body["messages"], body.get("tools")], ("max_tokens", "max_completion_tokens"))
    copies = body.get("n") or 1
    reported = None if "no_usage" in request.faults else chat_usage(usage)
    if reported and copies > 1:
        for name in ("completion_tokens",):
            reported[name] *= copies
        reported["completion_tokens_details"]["reasoning_tokens"] *= copies
        reported["total_tokens"] = reported["prompt_tokens"] + reported["completion_tokens"]
    finish = "length" if usage.cut else "stop"
    base = {"id": ident(seed, "chatcmpl-", 29), "object": "chat.completion", "created": timestamp(seed), "model": answered_model(request)}
    tier = {"service_tier": request.faults.get("service_tier") or "default", "system_fingerprint": None}
    call = None
    if named := called(request):
        call = {"id": ident(seed, "call_"), "type": "function", "function": {"name": named[0], "arguments": dump(named[1]).decode()}}
        finish = "tool_calls"
    if not body.get("stream"):
        message = {"role": "assistant", "content": None if call else "".join(text), "refusal": None, "annotations": []}
        if call:
            message["tool_calls"] = [call]
        choices = [{"index": i, "message": message, "logprobs": None, "finish_reason": finish} for i in range(copies)]
        whole = {**base, "choices": choices, **({"usage": reported} if reported else {}), **tier}
        return Answer(200, fields(seed), pretty(whole), usage=reported)

    options = body.get("stream_options") or {}
    wants = bool(options.get("include_usage"))
    padded = options.get("include_obfuscation", True)
    base["object"] = "chat.completion.chunk"

    def event(choices, last=None):
        value = {**base, **tier, "choices": choices}
        if wants and reported is not None:
            value["usage"] = last
        if padded:
            value["obfuscation"] = hashlib.sha256(dump(choices)).hexdigest()[: 3 + len(dump(choices)) % 11]
        return b"data: " + dump(value) + b"\n\n"

    def choice(index, delta, reason=None):
        return {"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}

    def events():
        for i in range(copies):
            yield event([choice(i, {"role": "assistant", "content": "" if not call else None, "refusal": None})])
            if call:
                yield event([choice(i, {"tool_calls": [{"index": 0, **call, "function": {"name": call["function"]["name"], "arguments": ""}}]})])
                for piece in in_pieces(call["function"]["arguments"]):
                    yield event([choice(i, {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]})])
            else:
                for word in text:
                    yield event([choice(i, {"content": word})])
            yield event([choice(i, {}, finish)])
        if wants and reported is not None:
            yield event([], reported)
        yield b"data: [DONE]\n\n"

    broken = b"data: " + dump({"error": {"message": "The server had an error while processing your request. Sorry about that!",
                                         "type": "server_error", "param": None, "code": None}}) + b"\n\n"
    return Answer(200, fields(seed, "text/event-stream; charset=utf-8"), events=events(), usage=reported if wants else None,
                  error_event=broken)


def completions(request, store):
    body, seed = request.json, seed_of(request)
    if "prompt" not in body:
        return error(400, "you must provide a prompt parameter", param="prompt")
    text, usage = said(request, seed, body["prompt"], ("max_tokens",))
    reported = {"prompt_tokens": usage.prompt, "completion_tokens": usage.completion, "total_tokens": usage.prompt + usage.completion}
    reported = None if "no_usage" in request.faults else reported
    base = {"id": ident(seed, "cmpl-", 29), "object": "text_completion", "created": timestamp(seed), "model": answered_model(request)}
    finish = "length" if usage.cut else "stop"

    def choice(piece, reason):
        return {"text": piece, "index": 0, "logprobs": None, "finish_reason": reason}

    if not body.get("stream"):
        whole = {**base, "choices": [choice("".join(text), finish)], **({"usage": reported} if reported else {})}
        return Answer(200, fields(seed), pretty(whole), usage=reported)
    wants = bool((body.get("stream_options") or {}).get("include_usage")) and reported is not None

    def event(choices, last=None):
        return b"data: " + dump({**base, "choices": choices, **({"usage": last} if wants else {})}) + b"\n\n"

    def events():
        for word in text:
            yield event([choice(word, None)])
        yield event([choice("", finish)])
        if wants:
            yield event([], reported)
        yield b"data: [DONE]\n\n"

    broken = b"data: " + dump({"error": {"message": "demo", "type": "server_error", "param": None, "code": None}}) + b"\n\n"
    return Answer(200, fields(seed, "text/event-stream"), events=events(), usage=reported if wants else None, error_event=broken)


def responses(request, store):
    body, seed = request.json, seed_of(request)
    if "input" not in body:
        return error(400, "Missing required parameter: 'input'.", code="missing_required_parameter", param="input")
    text, usage = said(request, seed, [body["input"], body.get("instructions"), body.get("tools")], ("max_output_tokens",))
    reported = {"input_tokens": usage.prompt, "input_tokens_details": {"cached_tokens": usage.cache_read},
                "output_tokens": usage.completion, "output_tokens_details": {"reasoning_tokens": usage.reasoning},
                "total_tokens": usage.prompt + usage.completion}
    reported = None if "no_usage" in request.faults else reported
    status = "failed" if "failed" in request.faults else "incomplete" if usage.cut else "completed"
    problem = {"code": "server_error", "message": "The model failed to generate a response."} if status == "failed" else None

    def response(state, output, spent, failure=None):
        return {"id": ident(seed, "resp_", 48), "object": "response", "created_at": timestamp(seed), "status": state,
                "background": bool(body.get("background")), "error": failure,
                "incomplete_details": {"reason": "max_output_tokens"} if state == "incomplete" else None,
                "instructions": body.get("instructions"), "max_output_tokens": body.get("max_output_tokens"),
                "model": answered_model(request), "output": output, "parallel_tool_calls": True, "previous_response_id": None,
                "reasoning": {"effort": None, "summary": None},
                "service_tier": request.faults.get("service_tier") or ("default" if spent else "auto"),
                "store": body.get("store", True), "temperature": 1.0, "text": {"format": {"type": "text"}}, "tool_choice": "auto",
                "tools": body.get("tools") or [], "top_p": 1.0, "truncation": "disabled", "usage": spent, "user": None,
                "metadata": body.get("metadata") or {}}

    item_id = ident(seed, "msg_", 48)
    part = {"type": "output_text", "annotations": [], "logprobs": [], "text": "".join(text)}
    state = "incomplete" if usage.cut else "completed"
    message = {"id": item_id, "type": "message", "status": state, "content": [part], "role": "assistant"}
    if named := called(request):
        item_id = ident(seed, "fc_", 48)
        message = {"id": item_id, "type": "function_call", "status": "completed", "call_id": ident(seed, "call_"), "name": named[0],
                   "arguments": dump(named[1]).decode()}
    output = [message]
    if usage.reasoning:
        output = [{"id": ident(seed, "rs_", 48), "type": "reasoning", "summary": []}, message]
    final = response(status, output if status != "failed" else [], reported, problem)
    store.responses[final["id"]] = (final, body)
    if body.get("background") and not body.get("stream"):
        return Answer(200, fields(seed), pretty(response("queued", [], None)))
    if not body.get("stream"):
        return Answer(200, fields(seed), pretty(final), usage=reported)

    def events():
        serial = -1

        def event(kind, **members):
            nonlocal serial
            serial += 1
            return f"event: {kind}\ndata: ".encode() + dump({"type": kind, **members, "sequence_number": serial}) + b"\n\n"

        yield event("response.created", response=response("in_progress", [], None))
        yield event("response.in_progress", response=response("in_progress", [], None))
        index = len(output) - 1
        if index:
            yield event("response.output_item.added", item=output[0], output_index=0)
            yield event("response.output_item.done", item=output[0], output_index=0)
        where = {"item_id": item_id, "output_index": index}
        if named:
            yield event("response.output_item.added", item={**message, "status": "in_progress", "arguments": ""}, output_index=index)
            for piece in in_pieces(message["arguments"]):
                yield event("response.function_call_arguments.delta", **where, delta=piece)
            yield event("response.function_call_arguments.done", **where, arguments=message["arguments"])
        else:
            where["content_index"] = 0
            yield event("response.output_item.added", item={**message, "status": "in_progress", "content": []}, output_index=index)
            yield event("response.content_part.added", **where, part={**part, "text": ""})
            for word in text:
                yield event("response.output_text.delta", **where, delta=word, logprobs=[], obfuscation=hashlib.md5(word.encode()).hexdigest()[:9])
            yield event("response.output_text.done", **where, logprobs=[], text=part["text"])
            yield event("response.content_part.done", **where, part=part)
        yield event("response.output_item.done", item=message, output_index=index)
        yield event(f"response.{status}", response=final)

    broken = b"event: error\ndata: " + dump({"type": "error", "code": "server_error", "message": "demo", "param": None,
                                             "sequence_number": 99}) + b"\n\n"
    return Answer(200, fields(seed, "text/event-stream; charset=utf-8"), events=events(), usage=reported, error_event=broken)


def response_by_id(request, store, tail):
    ident_, _, action = tail.partition("/")
    if ident_ not in store.responses:
        return error(404, f"Response with id '{ident_}' not found.")
    final, body = store.responses[ident_]
    seed = final["id"]
    if request.method == "DELETE" and not action:
        del store.responses[ident_]
        return Answer(200, fields(seed), pretty({"id": ident_, "object": "response.deleted", "deleted": True}))
    if action == "input_items":
        return Answer(200, fields(seed), pretty({"object": "list", "data": [{"id": "msg_in", "type": "message", "role": "user", "content":
                      [{"type": "input_text", "text": json.dumps(body["input"])}]}], "has_more": False}))
    if action == "cancel":
        return Answer(200, fields(seed), pretty({**final, "status": "cancelled"}))
    return Answer(200, fields(seed), pretty(final), usage=final["usage"])


def embeddings(request, store):
    body, seed = request.json, seed_of(request)
    given = body.get("input")
    if given is None:
        return error(400, "Missing required parameter: 'input'.", param="input")
    inputs = given if isinstance(given, list) and given and isinstance(given[0], (str, list)) else [given]
    size = int(body.get("dimensions") or 8)
    tokens = sum(len(x) if isinstance(x, list) and x and isinstance(x[0], int) else max(1, count_tokens(x)) for x in inputs)
    data = []
    for i in range(len(inputs)):
        vector = [number(seed, f"{i}.{k}", -10**6, 10**6) / 2**20 for k in range(size)]
        shown = base64.b64encode(struct.pack(f"<{size}f", *vector)).decode() if body.get("encoding_format") == "base64" else vector
        data.append({"object": "embedding", "index": i, "embedding": shown})
    reported = None if "no_usage" in request.faults else {"prompt_tokens": tokens, "total_tokens": tokens}
    whole = {"object": "list", "data": data, "model": request.model, **({"usage": reported} if reported else {})}
    return Answer(200, fields(seed), pretty(whole), usage=reported)


def moderations(request, store):
    seed = seed_of(request)
    flags = {"harassment": False, "hate": False, "violence": False}
    return Answer(200, fields(seed), pretty({"id": ident(seed, "modr-"), "model": "omni-moderation-latest", "results": [
        {"flagged": False, "categories": flags, "category_scores": {k: number(seed, k, 0, 999) / 1e6 for k in flags}}]}))


def images(request, store):
    body, seed = request.json or {}, seed_of(request)
    picture = base64.b64encode(bytes(number(seed, f"px{i}", 0, 255) for i in range(96))).decode()
    tokens = max(1, count_tokens(body.get("prompt", "")))
    reported = {"total_tokens": tokens + 272, "input_tokens": tokens, "output_tokens": 272,
                "input_tokens_details": {"text_tokens": tokens, "image_tokens": 0}}
    whole = {"created": timestamp(seed), "data": [{"b64_json": picture}] * (body.get("n") or 1), "usage": reported}
    return Answer(200, fields(seed), pretty(whole), usage=reported)


def transcriptions(request, store):
    seed = seed_of(request)
    if "file" not in request.form:
        return error(400, "you must provide a file", param="file")
    text = "".join(words(seed, 9))
    reported = {"type": "tokens", "input_tokens": 41, "input_token_details": {"text_tokens": 3, "audio_tokens": 38},
                "output_tokens": 11, "total_tokens": 52}
    return Answer(200, fields(seed), pretty({"text": text, "usage": reported}), usage=reported)


def speech(request, store):
    seed = seed_of(request)
    sound = b"ID3" + b"".join(hashlib.sha256(f"{seed}{i}".encode()).digest() for i in range(64))
    return Answer(200, fields(seed, "audio/mpeg"), sound)


def files(request, store, tail):
    if request.method == "POST" and not tail:
        if "file" not in request.form:
            return error(400, "'file' is a required property")
        content, filename = request.form["file"]
        seed = hashlib.sha256(content).hexdigest()
        made = {"id": ident(seed, "file-"), "object": "file", "bytes": len(content), "created_at": timestamp(seed), "filename": filename,
                "purpose": request.form.get("purpose", (b"batch", ""))[0].decode(), "status": "processed"}
        store.files[made["id"]] = (made, content)
        return Answer(200, fields(seed), pretty(made))
    if not tail:
        return Answer(200, fields("files"), pretty({"object": "list", "data": [f for f, _ in store.files.values()], "has_more": False}))
    ident_, _, action = tail.partition("/")
    if ident_ not in store.files:
        return error(404, f"No such File object: {ident_}", param="id")
    made, content = store.files[ident_]
    if request.method == "DELETE":
        del store.files[ident_]
        return Answer(200, fields(ident_), pretty({"id": ident_, "object": "file", "deleted": True}))
    if action == "content":
        return Answer(200, fields(ident_, "application/octet-stream"), content)
    return Answer(200, fields(ident_), pretty(made))


def batches(request, store, tail):
    if request.method == "POST" and not tail:
        seed = seed_of(request)
        made = {"id": ident(seed, "batch_"), "object": "batch", "endpoint": request.json.get("endpoint"), "errors": None,
                "input_file_id": request.json.get("input_file_id"), "completion_window": "24h", "status": "validating",
                "created_at": timestamp(seed), "request_counts": {"total": 0, "completed": 0, "failed": 0}}
        store.batches[made["id"]] = made
        return Answer(200, fields(seed), pretty(made))
    if not tail:
        return Answer(200, fields("batches"), pretty({"object": "list", "data": list(store.batches.values()), "has_more": False}))
    ident_, _, action = tail.partition("/")
    if ident_ not in store.batches:
        return error(404, f"No batch found with id '{ident_}'.")
    made = store.batches[ident_]
    state = "cancelling" if action == "cancel" else "completed"
    return Answer(200, fields(ident_), pretty({**made, "status": state}))


def models(request, store, tail):
    def entry(name):
        return {"id": name, "object": "model", "created": 1_715_367_049, "owned_by": "system"}
    if not tail:
        return Answer(200, fields("models"), pretty({"object": "list", "data": [entry(m) for m in MODELS]}))
    if tail not in MODELS:
        return error(404, f"The model '{tail}' does not exist", code="model_not_found", param="model")
    return Answer(200, fields(tail), pretty(entry(tail)))


def missing_model(request):
    return error(404, f"The model `{request.model}` does not exist or you do not have access to it.", code="model_not_found")


POSTS = {"chat/completions": chat, "completions": completions, "responses": responses, "embeddings": embeddings,
         "moderations": moderations, "images/generations": images, "images/edits": images, "audio/transcriptions": transcriptions,
         "audio/translations": transcriptions, "audio/speech": speech}
TREES = {"files": files, "batches": batches}


def answer(request, store):
    """The answer to an authenticated request, or None where OpenAI has no such address."""
    path = request.path.removeprefix("/v1/").rstrip("/")
    root, _, tail = path.partition("/")
    if request.method == "POST" and path in POSTS:
        needs_json = path not in ("audio/transcriptions", "audio/translations", "images/edits")
        if needs_json and not isinstance(request.json, dict):
            return error(400, "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP "
                              "library correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON.)")
        if needs_json and request.model.startswith("no-such"):
            return missing_model(request)
        return POSTS[path](request, store)
    if path == "responses/input_tokens" and request.method == "POST":
        return Answer(200, fields("count"), pretty({"object": "response.input_tokens", "input_tokens": count_tokens(request.json) + 7}))
    if root == "responses" and tail and request.method in ("GET", "POST", "DELETE"):
        return response_by_id(request, store, tail)
    if root in TREES:
        return TREES[root](request, store, tail)
    if root == "models" and request.method in ("GET", "HEAD"):
        return models(request, store, tail)
    return None
