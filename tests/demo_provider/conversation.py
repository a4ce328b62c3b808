"""What a prompt can ask the demo provider for, since real agents can't send it headers: "[demo: shout WORDS]" answers with these words in
capitals, "[demo: say TEXT]" with that text as it is, "[demo: run COMMAND]" calls the agent's own shell tool with it and then repeats what the
command said. Reads the bodies of all four APIs (messages, chat completions, responses, generateContent)."""

import re

DIRECTIVE = re.compile(r"\[demo: (shout|say|run) ([^\]]+)\]")
SHELLS = re.compile(r"bash|shell|exec_command", re.IGNORECASE)


def texts(value):
    """Every text in a message's content, whatever nests it."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for each in value:
            yield from texts(each)
    elif isinstance(value, dict):
        for name in ("text", "content", "output"):
            if name in value:
                yield from texts(value[name])


def turns(body):
    """The conversation as (role, text); a tool's result has the role "tool"."""
    for content in body.get("contents") or []:  # Google's
        for part in content.get("parts") or [] if isinstance(content, dict) else []:
            result = part.get("functionResponse") if isinstance(part, dict) else None
            yield ("tool", " ".join(texts(result.get("response")))) if result else (str(content.get("role", "user")), " ".join(texts(part)))
    asked = body.get("messages", body.get("input"))
    for item in [asked] if isinstance(asked, str) else asked or []:
        if isinstance(item, str):
            yield "user", item
        elif isinstance(item, dict) and str(item.get("type", "")).endswith("call_output") or isinstance(item, dict) and item.get("role") == "tool":
            yield "tool", " ".join(texts(item))
        elif isinstance(item, dict):
            content = item.get("content")
            for part in content if isinstance(content, list) else [content]:
                result = isinstance(part, dict) and part.get("type") == "tool_result"
                yield "tool" if result else str(item.get("role")), " ".join(texts(part))


def offered(body):
    """The tools, as (name, JSON schema of the arguments); codex hides some in its input."""
    hidden = [t for item in body.get("input") or [] if isinstance(item, dict) and item.get("type") == "additional_tools" for t in item.get("tools") or []]
    googles = [f for t in body.get("tools") or [] if isinstance(t, dict) for f in t.get("functionDeclarations") or []]
    for tool in [*(body.get("tools") or []), *hidden, *googles]:
        inner = tool.get("function") if isinstance(tool.get("function"), dict) else tool
        schema = inner.get("parameters") or inner.get("input_schema") or inner.get("parametersJsonSchema")
        if inner.get("name") and isinstance(schema, dict):
            yield inner["name"], schema


def shell_call(body, command):
    """(name, arguments) of the offered tool that runs commands, or None."""
    for name, schema in offered(body):
        properties = schema.get("properties") or {}
        parameter = next((p for p in ("command", "cmd") if p in properties), None)
        if not SHELLS.search(name) or parameter is None:
            continue
        wanted = str(properties[parameter].get("type")).lower()
        arguments = {parameter: ["bash", "-c", command] if wanted == "array" else command}
        for needed in schema.get("required") or []:
            arguments.setdefault(needed, "demo")
        return name, arguments
    return None


def wish(body):
    """("say", text), ("call", name, arguments) or None."""
    if not isinstance(body, dict):
        return None
    found = result = None
    for role, text in turns(body):
        if role == "tool":
            result = text
        elif role == "user" and (match := DIRECTIVE.search(text)):
            found, result = match, None
    if found is None:
        return None
    kind, what = found.groups()
    if kind in ("shout", "say"):
        return "say", what.upper() if kind == "shout" else what
    if result is not None:
        return "say", "The command said: " + result
    call = shell_call(body, what)
    return ("call", *call) if call else ("say", "No shell is offered.")
