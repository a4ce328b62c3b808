// ONE_TABLE, the rows. Sources: the providers' API references. Row order within a path does not matter.
#include "proxy/route.hpp"

#include <array>

namespace keyhole::proxy {
namespace {

using config::dialect;
using http::method;
using metering::wire;

/// A model request with a JSON body: counted, limited, metered.
constexpr route ask(std::string_view path, dialect api, std::string_view operation, wire w,
                    std::string_view name)
{
    return {method::post, path, api, operation, w, body_kind::json, true, false, object_rule::none, name};
}
/// The same with a form as its body.
constexpr route form(std::string_view path, std::string_view operation, wire w, std::string_view name)
{
    return {method::post,         path, dialect::openai, operation,         w,
            body_kind::multipart, true, false,           object_rule::none, name};
}
/// The same, where stream_options.include_usage is an option.
constexpr route ask_for_usage(std::string_view path, std::string_view operation, wire w,
                              std::string_view name)
{
    return {method::post, path, dialect::openai,   operation, w, body_kind::json,
            true,         true, object_rule::none, name};
}
/// A model request whose answer is kept by the provider under an id.
constexpr route make(std::string_view path, dialect api, std::string_view operation, wire w,
                     std::string_view name)
{
    return {method::post, path, api, operation, w, body_kind::json, true, false, object_rule::makes, name};
}
/// Free of charge, with a JSON body; `w` as for look().
constexpr route say(std::string_view path, dialect api, std::string_view operation, std::string_view name,
                    object_rule objects = object_rule::none, wire w = wire::none)
{
    return {method::post, path, api, operation, w, body_kind::json, false, false, objects, name};
}
/// Free of charge, without a body. A retrieved answer repeats the usage of one that was billed when it was
/// made: `w` finds it where that one had none yet.
constexpr route look(std::string_view path, dialect api, std::string_view operation, std::string_view name,
                     object_rule objects = object_rule::none, wire w = wire::none)
{
    return {method::get, path, api, operation, w, body_kind::none, false, false, objects, name};
}
constexpr route remove(std::string_view path, dialect api, std::string_view operation, std::string_view name)
{
    return {method::delete_, path,  api,   operation,         wire::none,
            body_kind::none, false, false, object_rule::uses, name};
}

constexpr auto openai = dialect::openai;
constexpr auto anthropic = dialect::anthropic;
constexpr auto gemini = dialect::gemini;
constexpr auto bedrock = dialect::bedrock;
constexpr auto cohere = dialect::cohere;
constexpr auto ollama = dialect::ollama;
constexpr auto lists = object_rule::lists;
constexpr auto uses = object_rule::uses;

constexpr std::array table{
    // OpenAI, and all that is compatible (Azure, Mistral, DeepSeek, Groq, xAI, Together, Fireworks,
    // OpenRouter,
    // vLLM, llama.cpp …), the paths that only some of them add included.
    ask_for_usage("/chat/completions", "chat", wire::openai_chat, "POST /v1/chat/completions"),
    ask_for_usage("/completions", "completions", wire::openai_completions, "POST /v1/completions"),
    ask("/fim/completions", openai, "completions", wire::openai_chat, "POST /v1/fim/completions"),
    make("/responses", openai, "responses", wire::openai_responses, "POST /v1/responses"),
    say("/responses/input_tokens", openai, "count_tokens", "POST /v1/responses/input_tokens"),
    make("/responses/compact", openai, "responses", wire::openai_responses, "POST /v1/responses/compact"),
    look("/responses/{id}", openai, "responses", "GET /v1/responses/{id}", uses, wire::openai_responses),
    remove("/responses/{id}", openai, "responses", "DELETE /v1/responses/{id}"),
    say("/responses/{id}/cancel", openai, "responses", "POST /v1/responses/{id}/cancel", uses,
        wire::openai_responses),
    look("/responses/{id}/input_items", openai, "responses", "GET /v1/responses/{id}/input_items", uses),
    ask("/embeddings", openai, "embeddings", wire::openai_embeddings, "POST /v1/embeddings"),
    ask("/rerank", openai, "rerank", wire::openai_embeddings, "POST /v1/rerank"),
    look("/models", openai, "models", "GET /v1/models"),
    look("/models/{id}", openai, "models", "GET /v1/models/{id}"),
    look("/models/{owner}/{id}", openai, "models", "GET /v1/models/{owner}/{id}"),
    ask("/images/generations", openai, "images", wire::openai_images, "POST /v1/images/generations"),
    form("/images/edits", "images", wire::openai_images, "POST /v1/images/edits"),
    form("/images/variations", "images", wire::openai_images, "POST /v1/images/variations"),
    ask("/audio/speech", openai, "audio", wire::openai_audio, "POST /v1/audio/speech"),
    form("/audio/transcriptions", "audio", wire::openai_audio, "POST /v1/audio/transcriptions"),
    form("/audio/translations", "audio", wire::openai_audio, "POST /v1/audio/translations"),
    ask("/moderations", openai, "moderations", wire::openai_moderations, "POST /v1/moderations"),
    ask("/ocr", openai, "ocr", wire::mistral_ocr, "POST /v1/ocr"),
    make("/threads/runs", openai, "assistants", wire::openai_assistants, "POST /v1/threads/runs"),
    route{method::post, "/files", openai, "files", wire::none, body_kind::opaque, false, false,
          object_rule::makes, "POST /v1/files"},
    look("/files", openai, "files", "GET /v1/files", lists),
    look("/files/{id}", openai, "files", "GET /v1/files/{id}", uses),
    remove("/files/{id}", openai, "files", "DELETE /v1/files/{id}"),
    look("/files/{id}/content", openai, "files", "GET /v1/files/{id}/content", uses,
         wire::openai_batch_results),
    make("/batches", openai, "batches", wire::none, "POST /v1/batches"),
    look("/batches", openai, "batches", "GET /v1/batches", lists),
    look("/batches/{id}", openai, "batches", "GET /v1/batches/{id}", uses, wire::openai_batch),
    say("/batches/{id}/cancel", openai, "batches", "POST /v1/batches/{id}/cancel", uses, wire::openai_batch),
    // IBM watsonx.ai, below /ml/v1
    ask("/text/generation", openai, "completions", wire::watsonx, "POST /ml/v1/text/generation"),
    ask("/text/generation_stream", openai, "completions", wire::watsonx,
        "POST /ml/v1/text/generation_stream"),

    // Anthropic
    ask("/messages", anthropic, "messages", wire::anthropic_messages, "POST /v1/messages"),
    ask("/complete", anthropic, "completions", wire::anthropic_messages, "POST /v1/complete"),
    say("/messages/count_tokens", anthropic, "count_tokens", "POST /v1/messages/count_tokens"),
    look("/models", anthropic, "models", "GET /v1/models"),
    look("/models/{id}", anthropic, "models", "GET /v1/models/{id}"),
    make("/messages/batches", anthropic, "batches", wire::none, "POST /v1/messages/batches"),
    look("/messages/batches", anthropic, "batches", "GET /v1/messages/batches", lists),
    look("/messages/batches/{id}", anthropic, "batches", "GET /v1/messages/batches/{id}", uses),
    remove("/messages/batches/{id}", anthropic, "batches", "DELETE /v1/messages/batches/{id}"),
    say("/messages/batches/{id}/cancel", anthropic, "batches", "POST /v1/messages/batches/{id}/cancel", uses),
    look("/messages/batches/{id}/results", anthropic, "batches", "GET /v1/messages/batches/{id}/results",
         uses, wire::anthropic_batch_results),

    // Gemini; Vertex AI's the same below /projects/P/locations/L/publishers/google
    ask("/models/{model}:generateContent", gemini, "generate", wire::gemini,
        "POST /v1beta/models/{model}:generateContent"),
    ask("/models/{model}:streamGenerateContent", gemini, "generate", wire::gemini,
        "POST /v1beta/models/{model}:streamGenerateContent"),
    say("/models/{model}:countTokens", gemini, "count_tokens", "POST /v1beta/models/{model}:countTokens"),
    ask("/models/{model}:embedContent", gemini, "embeddings", wire::gemini_embed,
        "POST /v1beta/models/{model}:embedContent"),
    ask("/models/{model}:batchEmbedContents", gemini, "embeddings", wire::gemini_embed,
        "POST /v1beta/models/{model}:batchEmbedContents"),
    ask("/models/{model}:predict", gemini, "embeddings", wire::gemini_embed,
        "POST /v1/models/{model}:predict"),
    make("/interactions", gemini, "interactions", wire::gemini_interactions, "POST /v1beta/interactions"),
    look("/interactions/{id}", gemini, "interactions", "GET /v1beta/interactions/{id}", uses,
         wire::gemini_interactions),
    remove("/interactions/{id}", gemini, "interactions", "DELETE /v1beta/interactions/{id}"),
    say("/interactions/{id}/cancel", gemini, "interactions", "POST /v1beta/interactions/{id}/cancel", uses,
        wire::gemini_interactions),
    look("/models", gemini, "models", "GET /v1beta/models"),
    look("/models/{model}", gemini, "models", "GET /v1beta/models/{model}"),
    ask("/publishers/anthropic/models/{model}:rawPredict", gemini, "messages", wire::anthropic_messages,
        "POST /v1/publishers/anthropic/models/{model}:rawPredict"),
    ask("/publishers/anthropic/models/{model}:streamRawPredict", gemini, "messages", wire::anthropic_messages,
        "POST /v1/publishers/anthropic/models/{model}:streamRawPredict"),
    ask("/publishers/mistralai/models/{model}:rawPredict", gemini, "chat", wire::openai_chat,
        "POST /v1/publishers/mistralai/models/{model}:rawPredict"),
    ask("/publishers/mistralai/models/{model}:streamRawPredict", gemini, "chat", wire::openai_chat,
        "POST /v1/publishers/mistralai/models/{model}:streamRawPredict"),

    // Bedrock's runtime
    ask("/model/{model}/converse", bedrock, "converse", wire::bedrock_converse,
        "POST /model/{model}/converse"),
    ask("/model/{model}/converse-stream", bedrock, "converse", wire::bedrock_converse,
        "POST /model/{model}/converse-stream"),
    ask("/model/{model}/invoke", bedrock, "invoke", wire::bedrock_invoke, "POST /model/{model}/invoke"),
    ask("/model/{model}/invoke-with-response-stream", bedrock, "invoke", wire::bedrock_invoke,
        "POST /model/{model}/invoke-with-response-stream"),
    say("/model/{model}/count-tokens", bedrock, "count_tokens", "POST /model/{model}/count-tokens"),

    // Cohere, v1 and v2
    ask("/chat", cohere, "chat", wire::cohere, "POST /v2/chat"),
    ask("/generate", cohere, "completions", wire::cohere, "POST /v1/generate"),
    ask("/embed", cohere, "embeddings", wire::cohere, "POST /v2/embed"),
    ask("/rerank", cohere, "rerank", wire::cohere, "POST /v2/rerank"),
    ask("/classify", cohere, "completions", wire::cohere, "POST /v1/classify"),
    ask("/summarize", cohere, "completions", wire::cohere, "POST /v1/summarize"),
    say("/tokenize", cohere, "count_tokens", "POST /v1/tokenize"),
    say("/detokenize", cohere, "count_tokens", "POST /v1/detokenize"),
    look("/models", cohere, "models", "GET /v1/models"),
    look("/models/{model}", cohere, "models", "GET /v1/models/{model}"),

    // Ollama's own; what would change the server (pull, push, create, copy, delete) is not here
    ask("/api/chat", ollama, "chat", wire::ollama, "POST /api/chat"),
    ask("/api/generate", ollama, "completions", wire::ollama, "POST /api/generate"),
    ask("/api/embed", ollama, "embeddings", wire::ollama, "POST /api/embed"),
    ask("/api/embeddings", ollama, "embeddings", wire::ollama, "POST /api/embeddings"),
    say("/api/show", ollama, "models", "POST /api/show"),
    look("/api/tags", ollama, "models", "GET /api/tags"),
    look("/api/ps", ollama, "models", "GET /api/ps"),
    look("/api/version", ollama, "models", "GET /api/version"),
};

}  // namespace

std::span<const route> route_table() noexcept
{
    return table;
}

}  // namespace keyhole::proxy
