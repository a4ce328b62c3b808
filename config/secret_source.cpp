#include "config/secret_source.hpp"

#include "config/file.hpp"

#include <algorithm>
#include <cstdio>

namespace keyhole::config {
namespace {

constexpr std::size_t max_secret = 8192;
const std::string by_reference = "write env:NAME or file:/path, and put the secret there";

/// A variable's name as everybody writes them. Others are not repeated in messages: they may be the secret
/// itself.
bool is_variable_name(std::string_view name)
{
    const auto allowed = [](char c) { return (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_'; };
    return !name.empty() && std::all_of(name.begin(), name.end(), allowed);
}

std::string octal(mode_t mode)
{
    char text[16];
    std::snprintf(text, sizeof text, "%04o", mode);
    return text;
}

}  // namespace

secret_source::secret_source(std::function<const char*(const char*)> environment, findings& out)
    : environment_(std::move(environment)), out_(out)
{
}

const char* secret_source::variable(const std::string& name) const
{
    const char* value = environment_(name.c_str());
    return value == nullptr || *value == '\0' ? nullptr : value;
}

bool secret_source::has_variable(const std::string& name) const
{
    return variable(name) != nullptr || variable(name + "_FILE") != nullptr;
}

secret_ptr secret_source::read(const node& at, const std::string& key, std::string_view owner)
{
    if (at.what != node::type::string && !at.bare) {
        out_.refuse(at.where, key, "expected a reference to a secret", by_reference);
        return nullptr;
    }
    const std::string& text = at.what == node::type::string ? at.text : *at.bare;
    if (text.starts_with("env:")) {
        const std::string name = text.substr(4);
        if (!is_variable_name(name)) {
            out_.refuse(at.where, key, "names no environment variable after env:",
                        "capitals, digits and _ only, like env:OPENAI_API_KEY");
            return nullptr;
        }
        const char* value = variable(name);
        if (value == nullptr) {
            out_.refuse(at.where, key, "the environment variable " + name + " is not set, or empty",
                        "set it where keyhole is started, or use file:/path");
            return nullptr;
        }
        auto found = checked(value, at.where, key);
        if (found) out_.note(std::string(owner) + ": key from " + name);
        return found;
    }
    if (text.starts_with("file:/")) return from_file(text.substr(5), at.where, key, owner);
    out_.refuse(at.where, key,
                text.starts_with("file:") ? "a secret's file needs an absolute path"
                                          : "a secret stands here literally",
                by_reference);
    return nullptr;
}

secret_ptr secret_source::from_variable(const std::string& name, const std::string& key,
                                        std::string_view owner)
{
    const std::string file_name = name + "_FILE";
    const char* value = variable(name);
    const char* path = variable(file_name);
    if (value != nullptr && path != nullptr) {
        out_.refuse("environment " + name, key, name + " and " + file_name + " are both set",
                    "unset one of them");
        return nullptr;
    }
    if (path != nullptr) {
        const std::string where = "environment " + file_name;
        if (*path != '/') {
            out_.refuse(where, key, "a secret's file needs an absolute path",
                        "write " + file_name + "=/path");
            return nullptr;
        }
        return from_file(path, where, key, owner);
    }
    if (value == nullptr) return nullptr;
    auto found = checked(value, "environment " + name, key);
    if (found) out_.note(std::string(owner) + ": key from " + name);
    return found;
}

secret_ptr secret_source::from_file(const std::string& path, const std::string& where, const std::string& key,
                                    std::string_view owner)
{
    const auto content = read_small_file(path, max_secret);
    if (const auto* failure = std::get_if<std::string>(&content)) {
        out_.refuse(where, key, "the secret's file " + path + " " + *failure,
                    "a regular file that keyhole may read, with nothing but the secret");
        return nullptr;
    }
    const auto& bytes = std::get<file_bytes>(content);
    auto found = checked(bytes.view(), where, key);
    if (!found) return nullptr;
    files_.push_back({path, where, key});
    out_.note(std::string(owner) + ": key from " + path);
    if ((bytes.mode() & 077) != 0) {
        out_.note(path + " is open to others than its owner (mode " + octal(bytes.mode()) +
                  "): chmod 600 it");
    }
    return found;
}

secret_ptr secret_source::checked(std::string_view value, const std::string& where, const std::string& key)
{
    while (value.ends_with('\n') || value.ends_with('\r')) {
        value.remove_suffix(1);
    }
    const auto refuse = [&](std::string what, std::string remedy) {
        out_.refuse(where, key, std::move(what), std::move(remedy));
        return nullptr;
    };
    if (value.empty()) return refuse("the secret is empty", "put the key there");
    if (value.size() > max_secret)
        return refuse("the secret is longer than any key", "nothing but the key may stand there");
    if ((value.front() == '"' || value.front() == '\'') && value.size() > 1 && value.back() == value.front())
    {
        return refuse("the secret stands in quotation marks", "remove them (Docker's env files keep quotes)");
    }
    // It goes into a header field as it is: anything else than visible ASCII would break the request, or
    // split it.
    const auto visible = [](char c) { return c > 0x20 && c < 0x7f; };
    if (!std::all_of(value.begin(), value.end(), visible)) {
        return refuse("there is white space, a control character or a non-ASCII character inside the secret",
                      "copy the key again, alone and on one line");
    }
    if (value.starts_with("kh_")) {
        return refuse("this is a token of a Keyhole session, not a provider's key",
                      "use the key that the provider gave you");
    }
    auto kept = std::make_shared<const secret>(value);
    if (!kept->locked() && !said_unlocked_) {
        said_unlocked_ = true;
        out_.note(
            "keys cannot be locked in memory (mlock refused) and could be swapped out: raise RLIMIT_MEMLOCK");
    }
    return kept;
}

}  // namespace keyhole::config
