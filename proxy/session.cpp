#include "proxy/session.hpp"

#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <openssl/sha.h>

#include <algorithm>
#include <cstring>
#include <mutex>
#include <stdexcept>
#include <utility>
#include <zlib.h>

namespace keyhole::proxy {
namespace {

constexpr std::size_t shortest_token = 8;
constexpr std::size_t longest_token = 512;
constexpr std::string_view ghostproxy_prefix = "session-";

/// What never reaches the table: empty, malformed, absurd.
bool is_well_formed(std::string_view token) noexcept
{
    if (token.size() < shortest_token || token.size() > longest_token) return false;
    return std::all_of(token.begin(), token.end(), [](char c) { return c > 0x20 && c < 0x7f; });
}

/// GhostProxy's clients send a token with and without "session-": both are the one without.
std::string_view canonical(std::string_view token) noexcept
{
    if (token.starts_with(ghostproxy_prefix) && token.size() >= ghostproxy_prefix.size() + shortest_token)
        token.remove_prefix(ghostproxy_prefix.size());
    return token;
}

std::string base64url(const unsigned char* bytes, std::size_t size)
{
    constexpr std::string_view alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    std::string out;
    std::uint32_t window = 0;
    int bits = 0;
    for (std::size_t i = 0; i < size; ++i) {
        window = (window << 8U) | bytes[i];
        bits += 8;
        while (bits >= 6) {
            bits -= 6;
            out += alphabet[(window >> static_cast<unsigned>(bits)) & 63U];
        }
    }
    if (bits > 0) out += alphabet[(window << static_cast<unsigned>(6 - bits)) & 63U];
    return out;
}

bool listed(const std::vector<std::string>& list, std::string_view name)
{
    return list.empty() || std::find(list.begin(), list.end(), name) != list.end();
}

}  // namespace

std::string mint_token()
{
    unsigned char random[32];
    if (RAND_priv_bytes(random, sizeof random) != 1)
        throw std::runtime_error("the system gives no random bytes");
    std::string token = "kh_" + base64url(random, sizeof random);
    OPENSSL_cleanse(random, sizeof random);
    // A checksum over what precedes it, so that a secret scanner can tell a token from a look-alike.
    auto sum = ::crc32(0, reinterpret_cast<const Bytef*>(token.data()), static_cast<uInt>(token.size()));
    constexpr std::string_view base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    for (int i = 0; i < 6; ++i) {
        token += base62[sum % 62];
        sum /= 62;
    }
    return token;
}

token_digest digest_of(std::string_view token) noexcept
{
    token = canonical(token);
    token_digest out{};
    SHA256(reinterpret_cast<const unsigned char*>(token.data()), token.size(), out.data());
    return out;
}

session::session(session_info i, std::shared_ptr<metering::budget> b, std::optional<session_credential> c)
    : info(std::move(i)), budget(std::move(b)), credential(std::move(c))
{
}

bool session::may_use_provider(std::string_view provider) const noexcept
{
    return listed(info.providers, provider);
}

bool session::may_use_operation(std::string_view operation) const noexcept
{
    return listed(info.operations, operation);
}

bool session::may_use_model(std::string_view model) const noexcept
{
    if (info.models.empty()) return true;
    return std::any_of(info.models.begin(), info.models.end(), [&](const std::string& allowed) {
        if (allowed.ends_with('*'))
            return model.starts_with(std::string_view(allowed).substr(0, allowed.size() - 1));
        return model == allowed;
    });
}

std::size_t session_registry::digest_hash::operator()(const token_digest& d) const noexcept
{
    std::size_t out = 0;
    std::memcpy(&out, d.data(), sizeof out);
    return out;
}

session_ptr session_registry::find_token(std::string_view token) const
{
    if (!is_well_formed(token)) return nullptr;
    const auto digest = digest_of(token);
    const std::shared_lock lock(mutex_);
    const auto at = by_token_.find(digest);
    if (at == by_token_.end() || CRYPTO_memcmp(at->first.data(), digest.data(), digest.size()) != 0)
        return nullptr;
    return at->second;
}

session_ptr session_registry::find_id(std::string_view id) const
{
    const std::shared_lock lock(mutex_);
    const auto at = by_id_.find(std::string(id));
    return at == by_id_.end() ? nullptr : at->second;
}

void session_registry::add(const token_digest& token, session_ptr s)
{
    const std::unique_lock lock(mutex_);
    auto& place = by_token_[token];
    if (place) {  // registered again: the newer one counts
        place->revoked.store(true, std::memory_order_release);
        by_id_.erase(place->info.id);
    }
    place = s;
    by_id_[s->info.id] = std::move(s);
}

session_ptr session_registry::revoke_id(std::string_view id)
{
    const std::unique_lock lock(mutex_);
    const auto at = by_id_.find(std::string(id));
    if (at == by_id_.end()) return nullptr;
    auto s = at->second;
    // The token stays known as revoked, so that its holder is told why.
    s->revoked.store(true, std::memory_order_release);
    by_id_.erase(at);
    return s;
}

session_ptr session_registry::revoke_token(std::string_view token)
{
    const auto s = find_token(token);
    if (!s || s->revoked.load(std::memory_order_acquire)) return nullptr;
    return revoke_id(s->info.id);
}

std::vector<session_ptr> session_registry::revoke_sandbox(std::string_view sandbox)
{
    std::vector<session_ptr> out;
    if (sandbox.empty()) return out;
    for (const auto& s : all())
        if (s->info.sandbox == sandbox)
            if (auto gone = revoke_id(s->info.id)) out.push_back(std::move(gone));
    return out;
}

std::vector<session_ptr> session_registry::all() const
{
    std::vector<session_ptr> out;
    const std::shared_lock lock(mutex_);
    out.reserve(by_id_.size());
    for (const auto& [id, s] : by_id_)
        out.push_back(s);
    std::sort(out.begin(), out.end(), [](const auto& a, const auto& b) {
        return a->info.created_us != b->info.created_us ? a->info.created_us > b->info.created_us
                                                        : a->info.id > b->info.id;
    });
    return out;
}

std::size_t session_registry::size() const
{
    const std::shared_lock lock(mutex_);
    return by_id_.size();
}

}  // namespace keyhole::proxy
