#include "journey.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cctype>
#include <sstream>
#include <string_view>

namespace keyhole::corpus {
namespace {

using nlohmann::json;

struct api_path {
    std::string_view api;
    std::string_view provider;       ///< empty: any
    std::string_view path;           ///< {model} is the case's
    std::string_view streamed = {};  ///< where streams have a path of their own
};

constexpr api_path paths[] = {
    {"chat", "", "/openai/v1/chat/completions"},
    {"completions", "", "/openai/v1/completions"},
    {"embeddings", "", "/openai/v1/embeddings"},
    {"responses", "", "/openai/v1/responses"},
    {"responses-compact", "", "/openai/v1/responses/compact"},
    {"images", "", "/openai/v1/images/generations"},
    {"image-edits", "", "/openai/v1/images/edits"},
    {"images-edits", "", "/openai/v1/images/edits"},
    {"image-variations", "", "/openai/v1/images/variations"},
    {"images-variations", "", "/openai/v1/images/variations"},
    {"fim", "", "/openai/v1/fim/completions"},
    {"files", "", "/openai/v1/files"},
    {"batches", "anthropic", "/anthropic/v1/messages/batches"},
    {"message-batches", "", "/anthropic/v1/messages/batches"},
    {"batches", "", "/openai/v1/batches"},
    {"audio-speech", "", "/openai/v1/audio/speech"},
    {"audio-transcriptions", "", "/openai/v1/audio/transcriptions"},
    {"audio-translations", "", "/openai/v1/audio/translations"},
    {"moderations", "", "/openai/v1/moderations"},
    {"rerank", "cohere", "/cohere/v2/rerank"},
    {"rerank", "", "/openai/v1/rerank"},
    {"ocr", "", "/openai/v1/ocr"},
    {"assistants-runs", "", "/openai/v1/threads/runs"},
    {"text-generation", "", "/openai/v1/text/generation", "/openai/v1/text/generation_stream"},
    {"messages", "", "/anthropic/v1/messages"},
    {"complete", "", "/anthropic/v1/complete"},
    {"count-tokens", "openai", "/openai/v1/responses/input_tokens"},
    {"count-tokens", "anthropic", "/anthropic/v1/messages/count_tokens"},
    {"count-tokens", "bedrock", "/bedrock/model/{model}/count-tokens"},
    {"count-tokens", "", "/gemini/v1beta/models/{model}:countTokens"},
    {"generate-content", "", "/gemini/v1beta/models/{model}:generateContent"},
    {"stream-generate-content", "", "/gemini/v1beta/models/{model}:streamGenerateContent"},
    {"embed", "cohere", "/cohere/v2/embed"},
    {"embed", "", "/gemini/v1beta/models/{model}:embedContent"},
    {"batch-embed-contents", "", "/gemini/v1beta/models/{model}:batchEmbedContents"},
    {"predict", "", "/gemini/v1/models/{model}:predict"},
    {"interactions", "", "/gemini/v1beta/interactions"},
    {"converse", "", "/bedrock/model/{model}/converse"},
    {"converse-stream", "", "/bedrock/model/{model}/converse-stream"},
    {"invoke", "", "/bedrock/model/{model}/invoke"},
    {"invoke-stream", "", "/bedrock/model/{model}/invoke-with-response-stream"},
    {"chat-v1", "", "/cohere/v1/chat"},
    {"chat-v2", "", "/cohere/v2/chat"},
    {"generate", "", "/cohere/v1/generate"},
    {"chat-native", "", "/ollama/api/chat"},
    {"generate-native", "", "/ollama/api/generate"},
    {"embed-native", "", "/ollama/api/embed"},
    {"embeddings-native", "", "/ollama/api/embeddings"},
};

constexpr std::string_view forms[] = {"/audio/transcriptions", "/audio/translations", "/images/edits",
                                      "/images/variations", "/files"};

/// A model's name as one path segment.
std::string segment(std::string_view name)
{
    std::string out;
    for (const char c : name)
        out += std::isalnum(static_cast<unsigned char>(c)) != 0 ||
                       std::string_view("-._:@").find(c) != std::string_view::npos
                   ? c
                   : '-';
    return out.empty() || out.find_first_not_of('.') == std::string::npos ? "a-model" : out;
}

std::string form_of(const test_case& c, const std::string& boundary)
{
    const std::string part = "--" + boundary + "\r\ncontent-disposition: form-data; name=\"";
    return part + "model\"\r\n\r\n" + (c.request_model.empty() ? "whisper-1" : c.request_model) + "\r\n" +
           part + "file\"; filename=\"a.wav\"\r\ncontent-type: audio/wav\r\n\r\nRIFF\r\n--" + boundary +
           "--\r\n";
}

std::string json_of(const test_case& c, bool asks_for_usage)
{
    json body = c.request.empty() ? json() : json::parse(c.request, nullptr, false);
    if (!body.is_object()) body = json::object();
    if (!body.contains("model")) body["model"] = c.request_model.empty() ? "a-model" : c.request_model;
    if (c.streaming) body["stream"] = true;
    body.erase("stream_options");
    if (may_insert(c) && asks_for_usage) body["stream_options"] = {{"include_usage", true}};
    // What the recorded request built on was made by somebody else's session.
    for (const auto* name : {"previous_response_id", "conversation", "input_file_id"})
        body.erase(name);
    return body.dump(-1, ' ', false, json::error_handler_t::replace);
}

/// The id that a stored answer names itself by; empty: none.
std::string id_in(const json& answer)
{
    if (!answer.is_object()) return {};
    if (const auto id = answer.find("id"); id != answer.end() && id->is_string())
        return id->get<std::string>();
    const auto inner = answer.find("response");
    return inner == answer.end() ? std::string() : id_in(*inner);
}

std::string stored_id(const test_case& c)
{
    std::string id = id_in(json::parse(c.body, nullptr, false));
    std::istringstream stream(c.body);
    for (std::string line; id.empty() && std::getline(stream, line);)
        if (line.starts_with("data:")) id = id_in(json::parse(line.substr(5), nullptr, false));
    if (!id.empty() && segment(id) == id) return id;
    const auto path = std::string_view(c.request_path).substr(0, c.request_path.find('?'));
    return segment(path.substr(path.rfind('/') + 1));
}

}  // namespace

journey made_first(const test_case& c, std::string& answer)
{
    answer = json{{"object", "response"}, {"status", "queued"}, {"id", stored_id(c)}}.dump();
    return {.method = "POST",
            .path = "/openai/v1/responses",
            .fields = {{"content-type", "application/json"}},
            .body = R"({"model":"a-model","background":true})"};
}

bool may_insert(const test_case& c)
{
    return c.streaming && c.status < 400 && (c.api == "chat" || c.api == "completions");
}

bool is_retrieval(const test_case& c)
{
    return c.api == "responses-retrieve";
}

journey journey_of(const test_case& c, bool asks_for_usage)
{
    journey j;
    if (c.api == "models") {
        j.method = "GET";
        j.path = "/openai/v1/models";
        return j;
    }
    if (is_retrieval(c)) {
        j.method = "GET";
        j.path = "/openai/v1/responses/" + stored_id(c) + (c.streaming ? "?stream=true" : "");
        return j;
    }
    for (const auto& p : paths) {
        if (p.api != c.api || (!p.provider.empty() && p.provider != c.provider)) continue;
        j.path = c.streaming && !p.streamed.empty() ? p.streamed : p.path;
        break;
    }
    if (const auto at = j.path.find("{model}"); at != std::string::npos)
        j.path.replace(at, 7, segment(c.request_model));
    if (j.path.starts_with("/anthropic")) j.fields.emplace_back("anthropic-version", "2023-06-01");
    const auto is_form = [&](const auto& end) { return j.path.ends_with(end); };
    if (std::ranges::any_of(forms, is_form)) {
        j.fields.emplace_back("content-type", "multipart/form-data; boundary=corpus");
        j.body = form_of(c, "corpus");
    } else {
        j.fields.emplace_back("content-type", "application/json");
        j.body = json_of(c, asks_for_usage);
    }
    return j;
}

}  // namespace keyhole::corpus
