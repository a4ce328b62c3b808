#!/opt/sdk/python/bin/python
"""An agent in thirty lines: the official Anthropic SDK, configured by environment alone; streams, and runs the commands that the model asks for."""
import os
import subprocess
import sys

from anthropic import Anthropic

client = Anthropic()
model = os.environ.get("MODEL", "claude-haiku-4-5")
schema = {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}
tools = [{"name": "shell", "description": "Runs a command in the sandbox.", "input_schema": schema}]
messages = [{"role": "user", "content": " ".join(sys.argv[1:])}]


def run(command):
    return subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False).stdout


for _ in range(8):
    with client.messages.stream(model=model, messages=messages, tools=tools, max_tokens=1024) as stream:
        for text in stream.text_stream:
            print(text, end="", flush=True)
        answer = stream.get_final_message()
    calls = [block for block in answer.content if block.type == "tool_use"]
    if not calls:
        break
    messages.append({"role": "assistant", "content": answer.content})
    messages.append({"role": "user", "content": [{"type": "tool_result", "tool_use_id": c.id, "content": run(c.input["command"])} for c in calls]})
print()
