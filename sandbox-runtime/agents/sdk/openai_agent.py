#!/opt/sdk/python/bin/python
"""An agent in forty lines: the official openai SDK, configured by environment alone; streams, and runs the commands that the model asks for."""
import json
import os
import subprocess
import sys

from openai import OpenAI

client = OpenAI()
model = os.environ.get("MODEL", "gpt-4o-mini")
parameters = {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}
tools = [{"type": "function", "function": {"name": "shell", "description": "Runs a command in the sandbox.", "parameters": parameters}}]
messages = [{"role": "user", "content": " ".join(sys.argv[1:])}]

for _ in range(8):
    content, calls = "", {}
    for chunk in client.chat.completions.create(model=model, messages=messages, tools=tools, stream=True, stream_options={"include_usage": True}):
        if not chunk.choices:
            continue
        delta = chunk.choices[0].delta
        content += delta.content or ""
        print(delta.content or "", end="", flush=True)
        for piece in delta.tool_calls or []:
            call = calls.setdefault(piece.index, {"id": piece.id, "type": "function", "function": {"name": piece.function.name, "arguments": ""}})
            call["function"]["arguments"] += piece.function.arguments or ""
    if not calls:
        break
    messages.append({"role": "assistant", "content": content or None, "tool_calls": list(calls.values())})
    for call in calls.values():
        command = json.loads(call["function"]["arguments"])["command"]
        said = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False).stdout
        messages.append({"role": "tool", "tool_call_id": call["id"], "content": said})
print()
