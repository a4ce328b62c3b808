#!/usr/bin/env node
// An agent in thirty lines: the official Anthropic SDK, configured by environment alone; streams, and runs the commands that the model asks for.
import { execFileSync } from "node:child_process";
import Anthropic from "@anthropic-ai/sdk";

const client = new Anthropic();
const model = process.env.MODEL ?? "claude-haiku-4-5";
const schema = { type: "object", properties: { command: { type: "string" } }, required: ["command"] };
const tools = [{ name: "shell", description: "Runs a command in the sandbox.", input_schema: schema }];
const messages = [{ role: "user", content: process.argv.slice(2).join(" ") }];

for (let turn = 0; turn < 8; ++turn) {
  const stream = client.messages.stream({ model, messages, tools, max_tokens: 1024 }).on("text", (text) => process.stdout.write(text));
  const answer = await stream.finalMessage();
  const calls = answer.content.filter((block) => block.type === "tool_use");
  if (!calls.length) break;
  const run = (call) => execFileSync("sh", ["-c", call.input.command], { encoding: "utf8" });
  messages.push({ role: "assistant", content: answer.content });
  messages.push({ role: "user", content: calls.map((call) => ({ type: "tool_result", tool_use_id: call.id, content: run(call) })) });
}
console.log();
