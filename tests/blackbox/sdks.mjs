// The official SDKs, run once against the provider and once through the proxy. Prints one JSON object: for each call what the SDK
// made of it and the exact bytes (hash and length) of the body that it was given.
//   node sdks.mjs OPENAI_BASE_URL OPENAI_KEY ANTHROPIC_BASE_URL ANTHROPIC_KEY
import { createHash } from 'node:crypto';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const require = createRequire(process.env.SDK_ROOT + '/');
const { default: OpenAI } = await import(pathToFileURL(require.resolve('openai')));
const { default: Anthropic } = await import(pathToFileURL(require.resolve('@anthropic-ai/sdk')));
const [openaiUrl, openaiKey, anthropicUrl, anthropicKey] = process.argv.slice(2);

let bodies = [];
const watched = async (url, init) => {
  const response = await fetch(url, init);
  bodies.push({ status: response.status, type: response.headers.get('content-type'), bytes: response.clone().arrayBuffer() });
  return response;
};
const openai = new OpenAI({ baseURL: openaiUrl, apiKey: openaiKey, fetch: watched, maxRetries: 0 });
const anthropic = new Anthropic({ baseURL: anthropicUrl, apiKey: anthropicKey, fetch: watched, maxRetries: 0 });

const messages = [{ role: 'user', content: 'say hi to the lantern, über 東京' }];
const collect = async (stream) => {
  const events = [];
  for await (const event of stream) events.push(event);
  return events;
};
const calls = {
  async chat() {
    const r = await openai.chat.completions.create({ model: 'demo-cached-reasoning', messages });
    return { text: r.choices[0].message.content, usage: r.usage };
  },
  async chatStream() {
    const events = await collect(await openai.chat.completions.create({ model: 'gpt-4o', messages, stream: true }));
    return { text: events.map((e) => e.choices[0]?.delta?.content ?? '').join(''), extra: events.filter((e) => !e.choices.length).length,
             usage: events.map((e) => e.usage).filter(Boolean) };
  },
  async chatStreamWithUsage() {
    const events = await collect(await openai.chat.completions.create({ model: 'gpt-4o', messages, stream: true,
      stream_options: { include_usage: true } }));
    return { text: events.map((e) => e.choices[0]?.delta?.content ?? '').join(''), usage: events.at(-1).usage };
  },
  async responses() {
    const r = await openai.responses.create({ model: 'gpt-5', input: 'hi' });
    return { text: r.output_text, usage: r.usage, id: r.id };
  },
  async responsesStream() {
    const events = await collect(await openai.responses.create({ model: 'gpt-5', input: 'hi', stream: true }));
    return { types: events.map((e) => e.type), usage: events.at(-1).response.usage };
  },
  async responsesRetrieve() {
    const made = await openai.responses.create({ model: 'gpt-5', input: 'keep me' });
    return { text: (await openai.responses.retrieve(made.id)).output_text };
  },
  async embeddings() {
    const r = await openai.embeddings.create({ model: 'text-embedding-3-small', input: ['a b', 'c'] });
    return { first: Array.from(r.data[0].embedding), usage: r.usage };
  },
  async models() {
    return { ids: (await collect(await openai.models.list())).map((m) => m.id) };
  },
  async transcription() {
    const file = await OpenAI.toFile?.(Buffer.from('RIFF'.repeat(100)), 'a.wav') ?? new File([Buffer.from('RIFF'.repeat(100))], 'a.wav');
    return { text: (await openai.audio.transcriptions.create({ model: 'whisper-1', file })).text };
  },
  async openaiError() {
    try {
      await openai.chat.completions.create({ model: 'no-such-model', messages });
      return { error: null };
    } catch (e) {
      return { error: e.constructor.name, status: e.status, code: e.code, message: e.message };
    }
  },
  async messages() {
    const r = await anthropic.messages.create({ model: 'claude-cached-thinking', max_tokens: 300, messages });
    return { content: r.content, usage: r.usage, stop: r.stop_reason };
  },
  async messagesStream() {
    const stream = anthropic.messages.stream({ model: 'claude-cached-thinking', max_tokens: 300, messages });
    const final = await stream.finalMessage();
    return { content: final.content, usage: final.usage, stop: final.stop_reason };
  },
  async countTokens() {
    return await anthropic.messages.countTokens({ model: 'claude-sonnet-4-5', messages });
  },
  async anthropicModels() {
    return { ids: (await collect(await anthropic.models.list())).map((m) => m.id) };
  },
  async anthropicError() {
    try {
      await anthropic.messages.create({ model: 'no-such-model', max_tokens: 5, messages });
      return { error: null };
    } catch (e) {
      return { error: e.constructor.name, status: e.status, type: e.error?.error?.type };
    }
  },
  async overloaded() {
    try {
      await anthropic.messages.create({ model: 'claude-sonnet-4-5', max_tokens: 5, messages }, { headers: { 'x-demo': 'status_529' } });
      return { error: null };
    } catch (e) {
      return { error: e.constructor.name, status: e.status, type: e.error?.error?.type };
    }
  },
};

const out = {};
for (const [name, call] of Object.entries(calls)) {
  bodies = [];
  let result;
  try {
    result = await call();
  } catch (e) {
    result = { failed: `${e.constructor.name}: ${e.message}` };
  }
  const seen = [];
  for (const b of bodies) {
    const bytes = Buffer.from(await b.bytes);
    seen.push({ status: b.status, type: b.type, length: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') });
  }
  out[name] = { result, bodies: seen };
}
console.log(JSON.stringify(out));
