#include "metering/media_places.hpp"

#include "metering/place_tree.hpp"

#include <algorithm>

namespace keyhole::metering {

namespace {

using enum media_role;
using enum media_kind;

constexpr auto chat = wire::openai_chat;
constexpr auto responses = wire::openai_responses;
constexpr auto claude = wire::anthropic_messages;
constexpr auto converse = wire::bedrock_converse;
constexpr auto invoke = wire::bedrock_invoke;
constexpr auto interactions = wire::gemini_interactions;

constexpr media_row rows[] = {
    // https://platform.openai.com/docs/api-reference/chat/create; films and sounds by URL as vLLM and
    // OpenRouter read them, documents as Mistral does.
    {chat, "messages[].content[].image_url", string, image},
    {chat, "messages[].content[].image_url.url", string, image},
    {chat, "messages[].content[].input_audio", source, audio},
    {chat, "messages[].content[].input_audio", string, audio},
    {chat, "messages[].content[].audio_url", string, audio},
    {chat, "messages[].content[].audio_url.url", string, audio},
    {chat, "messages[].content[].video_url", string, video},
    {chat, "messages[].content[].video_url.url", string, video},
    {chat, "messages[].content[].document_url"},
    {chat, "messages[].content[].document_url.url"},
    {chat, "messages[].content[].file.file_data"},
    {chat, "messages[].images[].image_url.url", string, image},
    {chat, "messages[].content[].signature", sealed},
    {chat, "messages[].thinking_blocks[].signature", sealed},
    {chat, "messages[].extra_content.google.thought_signature", sealed},
    {chat, "messages[].tool_calls[].extra_content.google.thought_signature", sealed},
    {chat, "messages[].reasoning_details[].data", sealed},
    {chat, "messages[].reasoning_details[].signature", sealed},

    // https://platform.openai.com/docs/api-reference/responses/create
    {responses, "input[].image_url", string, image},
    {responses, "input[].content[].image_url", string, image},
    {responses, "input[].content[].file_data"},
    {responses, "input[].content[].input_audio", source, audio},
    {responses, "input[].output[].image_url", string, image},
    {responses, "input[].output[].file_data"},
    {responses, "input[].output.image_url", string, image},
    {responses, "input[].result", string, image},
    {responses, "input[].encrypted_content", sealed},
    {responses, "prompt.variables.*.image_url", string, image},
    {responses, "prompt.variables.*.file_data"},

    // https://docs.claude.com/en/api/messages
    {claude, "messages[].content[].source", source},
    {claude, "messages[].content[].source.content[].source", source},
    {claude, "messages[].content[].content[].source", source},
    {claude, "messages[].content[].content[].source.content[].source", source},
    {claude, "messages[].content[].signature", sealed},
    {claude, "messages[].content[].data", sealed},
    {claude, "messages[].content[].content[].encrypted_content", sealed},

    // https://ai.google.dev/api/caching#Content, in both spellings that its JSON has
    {wire::gemini, "contents[].parts[].inlineData", source},
    {wire::gemini, "contents[].parts[].inline_data", source},
    {wire::gemini, "contents[].parts.inlineData", source},
    {wire::gemini, "contents[].parts.inline_data", source},
    {wire::gemini, "contents.parts[].inlineData", source},
    {wire::gemini, "contents.parts[].inline_data", source},
    {wire::gemini, "contents.parts.inlineData", source},
    {wire::gemini, "contents.parts.inline_data", source},
    {wire::gemini, "systemInstruction.parts[].inlineData", source},
    {wire::gemini, "systemInstruction.parts[].inline_data", source},
    {wire::gemini, "system_instruction.parts[].inlineData", source},
    {wire::gemini, "system_instruction.parts[].inline_data", source},
    {wire::gemini, "contents[].parts[].functionResponse.parts[].inlineData", source},
    {wire::gemini, "contents[].parts[].functionResponse.parts[].inline_data", source},
    {wire::gemini, "contents[].parts[].function_response.parts[].inlineData", source},
    {wire::gemini, "contents[].parts[].function_response.parts[].inline_data", source},
    {wire::gemini, "contents[].parts[].videoMetadata.fps", frames},
    {wire::gemini, "contents[].parts[].video_metadata.fps", frames},
    {wire::gemini, "contents.parts[].videoMetadata.fps", frames},
    {wire::gemini, "contents.parts[].video_metadata.fps", frames},
    {wire::gemini, "contents[].parts[].thoughtSignature", sealed},
    {wire::gemini, "contents[].parts[].thought_signature", sealed},
    {wire::gemini_embed, "content.parts[].inlineData", source},
    {wire::gemini_embed, "content.parts[].inline_data", source},
    {wire::gemini_embed, "requests[].content.parts[].inlineData", source},
    {wire::gemini_embed, "requests[].content.parts[].inline_data", source},
    {wire::gemini_embed, "instances[].image.bytesBase64Encoded", string, image},
    {wire::gemini_embed, "instances[].video.bytesBase64Encoded", string, video},
    {interactions, "input", source},
    {interactions, "input[]", source},
    {interactions, "input[].content", source},
    {interactions, "input[].content[]", source},
    {interactions, "input[].signature", sealed},
    {interactions, "input[].content[].signature", sealed},

    // https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ContentBlock.html
    {converse, "messages[].content[].image.source.bytes", string, image},
    {converse, "messages[].content[].document.source.bytes"},
    {converse, "messages[].content[].video.source.bytes", string, video},
    {converse, "messages[].content[].audio.source.bytes", string, audio},
    {converse, "messages[].content[].guardContent.image.source.bytes", string, image},
    {converse, "messages[].content[].toolResult.content[].image.source.bytes", string, image},
    {converse, "messages[].content[].toolResult.content[].document.source.bytes"},
    {converse, "messages[].content[].toolResult.content[].video.source.bytes", string, video},
    {converse, "messages[].content[].reasoningContent.reasoningText.signature", sealed},
    {converse, "messages[].content[].reasoningContent.redactedContent", sealed},
    // What Llama, Titan and Nova Canvas read by InvokeModel
    {invoke, "images[]", string, image},
    {invoke, "inputImage", string, image},
    {invoke, "imageVariationParams.images[]", string, image},
    {invoke, "inPaintingParams.image", string, image},
    {invoke, "outPaintingParams.image", string, image},

    // https://docs.cohere.com/v2/reference/chat and /embed
    {wire::cohere, "messages[].content[].image_url", string, image},
    {wire::cohere, "messages[].content[].image_url.url", string, image},
    {wire::cohere, "images[]", string, image},
    {wire::cohere, "inputs[].content[].image_url", string, image},
    {wire::cohere, "inputs[].content[].image_url.url", string, image},

    // https://github.com/ollama/ollama/blob/main/docs/api.md
    {wire::ollama, "messages[].images[]", string, image},
    {wire::ollama, "images[]", string, image},

    // Pictures from pictures, and embeddings and moderations of them
    {wire::openai_images, "image", string, image},
    {wire::openai_images, "image[]", string, image},
    {wire::openai_images, "images[]", string, image},
    {wire::openai_images, "image.url", string, image},
    {wire::openai_images, "images[].url", string, image},
    {wire::openai_images, "images[].image_url", string, image},
    {wire::openai_images, "image_url", string, image},
    {wire::openai_images, "mask", string, image},
    {wire::openai_images, "mask.image_url", string, image},
    {wire::openai_embeddings, "input[].image", string, image},
    {wire::openai_embeddings, "input[].content[].image_url.url", string, image},
    {wire::openai_embeddings, "messages[].content[].image_url.url", string, image},
    {wire::openai_moderations, "input[].image_url.url", string, image},

    // https://docs.mistral.ai/api/#tag/ocr
    {wire::openai_audio, "input_audio", source, audio},
    {wire::mistral_ocr, "document.document_url"},
    {wire::mistral_ocr, "document.image_url", string, image},
    {wire::mistral_ocr, "document.image_url.url", string, image},
};

bool is(std::string_view text, std::string_view name) noexcept
{
    const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
    return std::ranges::equal(text, name, {}, lower, lower);
}

}  // namespace

const media_place* media_place::child(std::string_view name) const noexcept
{
    for (const media_place& p : children)
        if (p.key == "*" || is(p.key, name)) return &p;
    return nullptr;
}

const media_place& media_places()
{
    static const media_place root = [] {
        media_place out;
        for (const media_row& row : rows)
            place_at(out, row.path).rows.push_back(&row);
        return out;
    }();
    return root;
}

media_readers readers_of(wire w, std::string_view model) noexcept
{
    if (w == wire::openai_completions) w = chat;
    if (w != invoke) return {w, w, w, w};
    const auto made_by = [model](std::string_view family) { return model.find(family) != model.npos; };
    if (made_by("anthropic.")) return {claude, claude, claude, claude};
    if (made_by("amazon.nova")) return {converse, invoke, invoke, invoke};
    if (made_by("amazon.") || made_by("meta.")) return {invoke, invoke, invoke, invoke};
    if (made_by("cohere.")) return {wire::cohere, wire::cohere, wire::cohere, wire::cohere};
    // An ARN says nothing of the family, and the others read as OpenAI's API does.
    if (model.find("arn:") != model.npos || model.empty()) return {claude, converse, invoke, chat};
    return {chat, chat, chat, chat};
}

}  // namespace keyhole::metering
