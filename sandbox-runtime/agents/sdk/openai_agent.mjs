#!/usr/bin/env node
// An agent in forty lines: the official openai SDK, configured by environment alone; streams, and runs the commands that the model asks for.
import { execFileSync } from "node:child_process";
import OpenAI from "openai";

const client = new OpenAI();
const model = process.env.MODEL ?? "gpt-4o-mini";
const parameters = { type: "object", properties: { command: { type: "string" } }, required: ["command"] };
const tools = [{ type: "function", function: { name: "shell", description: "Runs a command in the sandbox.", parameters } }];
const messages = [{ role: "user", content: process.argv.slice(2).join(" ") }];

for (let turn = 0; turn < 8; ++turn) {
  const stream = await client.chat.completions.create({ model, messages, tools, stream: true, stream_options: { include_usage: true } });
  let content = "";
  const calls = [];
  for await (const chunk of stream) {
    const delta = chunk.choices[0]?.delta ?? {};
    process.stdout.write(delta.content ?? "");
    content += delta.content ?? "";
    for (const piece of delta.tool_calls ?? []) {
      const call = (calls[piece.index] ??= { id: piece.id, type: "function", function: { name: piece.function.name, arguments: "" } });
      call.function.arguments += piece.function?.arguments ?? "";
    }
  }
  if (!calls.length) break;
  messages.push({ role: "assistant", content: content || null, tool_calls: calls });
  for (const call of calls) {
    const { command } = JSON.parse(call.function.arguments);
    messages.push({ role: "tool", tool_call_id: call.id, content: execFileSync("sh", ["-c", command], { encoding: "utf8" }) });
  }
}
console.log();
