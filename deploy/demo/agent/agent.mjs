// The demo's agent. It runs in the sandbox and knows nothing of Keyhole: two official SDKs, configured by environment alone.
import fs from "node:fs";
import os from "node:os";
import OpenAI from "openai";
import Anthropic from "@anthropic-ai/sdk";

const results = { checks: [] };
const check = (name, ok, detail = "") => results.checks.push({ name, ok: Boolean(ok), detail: String(detail) });
const openaiModel = process.env.DEMO_OPENAI_MODEL ?? "gpt-4o-mini";
const anthropicModel = process.env.DEMO_ANTHROPIC_MODEL ?? "claude-haiku-4-5";

// What the agent can see of the world.
const readable = [];
for (const pid of fs.readdirSync("/proc").filter((p) => /^\d+$/.test(p)))
  for (const file of ["environ", "cmdline"])
    try {
      readable.push(fs.readFileSync(`/proc/${pid}/${file}`, "latin1"));
    } catch {
      // another user's: as it should be
    }
const seen = readable.join("\n") + JSON.stringify(process.env);
results.interfaces = Object.keys(os.networkInterfaces());
results.routes = fs.readFileSync("/proc/net/route", "utf8").trim().split("\n").length - 1;
results.environment = Object.keys(process.env).sort();
check("no network interface but loopback", results.interfaces.every((i) => i === "lo"), results.interfaces.join(" ") || "none");
check("no route to anywhere", results.routes === 0, `${results.routes} routes`);
check("no session token in any environment or command line it can read", !/kh_[A-Za-z0-9_-]{20,}/.test(seen), `${readable.length} files read`);
check("no provider key in any environment or command line it can read", !/sk-(ant-|proj-)?[A-Za-z0-9_-]{16,}/.test(seen));
await fetch("https://api.openai.com/v1/models", { signal: AbortSignal.timeout(5000) }).then(
  () => check("the provider itself cannot be reached", false, "it answered"),
  (e) => check("the provider itself cannot be reached", true, e.cause?.code ?? e.name),
);

async function ask(name, question) {
  try {
    const text = await question();
    check(name, text.length > 0, text.length > 60 ? `${text.slice(0, 57)}...` : text);
  } catch (e) {
    check(name, false, e.message);
  }
}

if (process.env.DEMO_OPENAI === "1") {
  const openai = new OpenAI({ baseURL: process.env.OPENAI_API_BASE, maxRetries: 0 });
  const messages = [{ role: "user", content: "Say hello from a place without a network." }];
  await ask("openai SDK, plain", async () => {
    const answer = await openai.chat.completions.create({ model: openaiModel, messages, max_completion_tokens: 64 });
    return answer.choices[0].message.content ?? "";
  });
  await ask("openai SDK, streaming", async () => {
    const stream = await openai.chat.completions.create({ model: openaiModel, messages, max_completion_tokens: 64, stream: true });
    let text = "";
    process.stderr.write("  streamed: ");
    for await (const chunk of stream) {
      const piece = chunk.choices[0]?.delta?.content ?? "";
      process.stderr.write(piece);
      text += piece;
    }
    process.stderr.write("\n");
    return text;
  });
}

if (process.env.DEMO_ANTHROPIC === "1") {
  const anthropic = new Anthropic({ maxRetries: 0 });
  const question = { model: anthropicModel, max_tokens: 64, messages: [{ role: "user", content: "Say hello from a place without a network." }] };
  await ask("@anthropic-ai/sdk, plain", async () => {
    const answer = await anthropic.messages.create(question);
    return answer.content.map((block) => block.text ?? "").join("");
  });
  await ask("@anthropic-ai/sdk, streaming", async () => {
    let text = "";
    process.stderr.write("  streamed: ");
    const stream = anthropic.messages.stream(question).on("text", (piece) => {
      process.stderr.write(piece);
      text += piece;
    });
    await stream.finalMessage();
    process.stderr.write("\n");
    return text;
  });
}

// Spend on until the budget says no. The refusal must end the run at once: one request, no retry storm.
results.refusal = null;
const greedy =
  process.env.DEMO_OPENAI === "1"
    ? (client) => client.chat.completions.create({ model: process.env.DEMO_GREEDY_MODEL ?? "gpt-4o", max_completion_tokens: 2000, messages: [{ role: "user", content: "again ".repeat(400) }] })
    : (client) => client.messages.create({ model: anthropicModel, max_tokens: 4096, messages: [{ role: "user", content: "again ".repeat(400) }] });
const client = process.env.DEMO_OPENAI === "1" ? new OpenAI({ baseURL: process.env.OPENAI_API_BASE }) : new Anthropic();
for (let i = 0; i < 200 && !results.refusal; ++i)
  try {
    await greedy(client);
  } catch (e) {
    results.refusal = { status: e.status, message: e.message, after: i };
  }
check("the budget refuses the request that would pass it", results.refusal?.status === 402, results.refusal ? `${results.refusal.status}: ${results.refusal.message}` : "never refused");

console.log(JSON.stringify(results));
