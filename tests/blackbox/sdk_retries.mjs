// How often the official SDKs, with the retries they come with, ask again after an answer. Prints one JSON object: for each call the
// statuses it was given, in order, and what became of it. A name in the answers stands for one request that a real agent would have made.
//   node sdk_retries.mjs BASE_URL TOKEN [MODEL]
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const require = createRequire(process.env.SDK_ROOT + '/');
const { default: OpenAI } = await import(pathToFileURL(require.resolve('openai')));
const { default: Anthropic } = await import(pathToFileURL(require.resolve('@anthropic-ai/sdk')));
const [base, token, model] = process.argv.slice(2);

let statuses = [];
const watched = async (url, init) => {
  const response = await fetch(url, init);
  statuses.push(response.status);
  return response;
};
const openai = new OpenAI({ baseURL: `${base}/v1`, apiKey: token, fetch: watched });
const anthropic = new Anthropic({ baseURL: base, apiKey: token, fetch: watched });
const messages = [{ role: 'user', content: 'hi' }];
const read = async (stream) => {
  let events = 0;
  for await (const event of stream) events += event ? 1 : 0;
  return events;
};
const calls = {
  chat: () => openai.chat.completions.create({ model: model ?? 'gpt-4o', messages, max_tokens: 20 }),
  chatStream: async () => read(await openai.chat.completions.create({ model: model ?? 'gpt-4o', messages, max_tokens: 20, stream: true })),
  responses: () => openai.responses.create({ model: model ?? 'gpt-5', input: 'hi', max_output_tokens: 20 }),
  embeddings: () => openai.embeddings.create({ model: model ?? 'text-embedding-3-small', input: 'hi' }),
  messages: () => anthropic.messages.create({ model: model ?? 'claude-sonnet-4-5', max_tokens: 20, messages }),
  messagesStream: async () => read(await anthropic.messages.create({ model: model ?? 'claude-sonnet-4-5', max_tokens: 20, messages, stream: true })),
};
const out = {};
for (const [name, call] of Object.entries(calls)) {
  statuses = [];
  let became = 'answered';
  try {
    await call();
  } catch (e) {
    became = e.constructor.name;
  }
  out[name] = { statuses, became };
}
console.log(JSON.stringify(out));
