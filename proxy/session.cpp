#include "proxy/session.hpp"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <stdexcept>
#include <sys/random.h>
#include <utility>
#include <zlib.h>

namespace keyhole::proxy {
namespace {

constexpr std::size_t shortest_token = 8;
constexpr std::size_t longest_token = 512;
constexpr std::string_view ghostproxy_prefix = "session-";
/// Ended tokens that are still known, so that their holders are told why they are refused.
constexpr std::size_t most_ended = 8192;

/// GhostProxy's clients send a token with and without "session-": both are the one without.
std::string_view canonical(std::string_view token) noexcept
{
    while (token.starts_with(ghostproxy_prefix)) {
        token.remove_prefix(ghostproxy_prefix.size());
    }
    return token;
}

void random_bytes(std::span<std::uint8_t> out)
{
    std::size_t have = 0;
    while (have < out.size()) {
        const ssize_t n = ::getrandom(out.data() + have, out.size() - have, 0);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) throw std::runtime_error(std::string("getrandom: ") + std::strerror(errno));
        have += static_cast<std::size_t>(n);
    }
}

std::string base64url(std::span<const std::uint8_t> bytes)
{
    constexpr std::string_view alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    std::string out;
    out.reserve((bytes.size() * 4 + 2) / 3);
    std::uint32_t window = 0;
    unsigned bits = 0;
    for (const std::uint8_t byte : bytes) {
        window = (window << 8U) | byte;
        for (bits += 8; bits >= 6; bits -= 6) {
            out += alphabet[(window >> (bits - 6)) & 63U];
        }
    }
    if (bits > 0) out += alphabet[(window << (6 - bits)) & 63U];
    return out;
}

bool is_listed(const std::vector<std::string>& list, std::string_view name) noexcept
{
    return list.empty() || std::ranges::find(list, name) != list.end();
}

}  // namespace

std::string mint_token()
{
    std::array<std::uint8_t, 32> random{};
    random_bytes(random);
    std::string token;
    token.reserve(52);  // grows nowhere: no copy of it is left behind in freed memory
    token = "kh_";
    std::string body = base64url(random);
    token += body;
    config::wipe(random.data(), random.size());
    config::wipe(body.data(), body.size());
    auto sum = static_cast<std::uint32_t>(
        ::crc32(0, reinterpret_cast<const Bytef*>(token.data()), static_cast<uInt>(token.size())));
    constexpr std::string_view base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    for (int i = 0; i < 6; ++i) {
        token += base62[sum % 62];
        sum /= 62;
    }
    return token;
}

std::string mint_session_id()
{
    std::array<std::uint8_t, 20> random{};
    random_bytes(random);
    std::string id = "ses_";
    for (const std::uint8_t byte : random) {
        id += "0123456789abcdefghijklmnopqrstuv"[byte & 31U];
    }
    return id;
}

token_digest digest_of(std::string_view token) noexcept
{
    // Looked up once: OpenSSL 3 searches its providers at each call of SHA256(), which costs more than the
    // hash.
    static EVP_MD* const sha256 = EVP_MD_fetch(nullptr, "SHA256", nullptr);
    thread_local const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(),
                                                                                       &EVP_MD_CTX_free);
    token = canonical(token);
    token_digest out{};
    if (EVP_DigestInit_ex2(context.get(), sha256, nullptr) == 1 &&
        EVP_DigestUpdate(context.get(), token.data(), token.size()) == 1)
        EVP_DigestFinal_ex(context.get(), out.data(), nullptr);
    return out;
}

bool is_well_formed_token(std::string_view token) noexcept
{
    if (token.size() > longest_token || canonical(token).size() < shortest_token) return false;
    return std::ranges::all_of(token, [](char c) { return c > 0x20 && c < 0x7f; });
}

// ---- session

session::session(session_info i, std::shared_ptr<metering::budget> b, std::optional<session_credential> c)
    : info(std::move(i)), budget(std::move(b)), credential(std::move(c))
{
}

bool session::may_use_provider(std::string_view provider) const noexcept
{
    return is_listed(info.providers, provider);
}

bool session::may_use_operation(std::string_view operation) const noexcept
{
    return is_listed(info.operations, operation);
}

bool session::may_use_model(std::string_view model) const noexcept
{
    if (info.models.empty()) return true;
    return std::ranges::any_of(info.models, [&](std::string_view allowed) {
        if (!allowed.ends_with('*')) return model == allowed;
        return model.starts_with(allowed.substr(0, allowed.size() - 1));
    });
}

// ---- registry

std::size_t session_registry::digest_hash::operator()(const token_digest& d) const noexcept
{
    std::size_t out = 0;  // a digest is as good as random: its first bytes are a hash
    std::memcpy(&out, d.data(), sizeof out);
    return out;
}

session_ptr session_registry::find_digest(const token_digest& digest) const
{
    const auto at = by_token_.find(digest);
    if (at == by_token_.end()) return nullptr;
    // TOKEN_STAYS_HOME: the table's own comparison ends at the first different byte; this one decides.
    if (CRYPTO_memcmp(at->first.data(), digest.data(), digest.size()) != 0) return nullptr;
    return at->second;
}

session_ptr session_registry::find_token(std::string_view token) const
{
    if (!is_well_formed_token(token)) return nullptr;
    const token_digest digest = digest_of(token);
    const std::shared_lock lock(mutex_);
    return find_digest(digest);
}

session_ptr session_registry::find_id(std::string_view id) const
{
    const std::shared_lock lock(mutex_);
    const auto at = by_id_.find(std::string(id));
    return at == by_id_.end() ? nullptr : at->second.live;
}

session_ptr session_registry::add(const token_digest& token, session_ptr s)
{
    const std::unique_lock lock(mutex_);
    session_ptr displaced = find_digest(token);
    if (displaced) {
        if (by_id_.erase(displaced->info.id) == 0)
            displaced = nullptr;  // it had ended before
        else
            displaced->revoked.store(true, std::memory_order_release);
    }
    std::erase(ended_, token);
    by_token_[token] = s;
    const std::string id = s->info.id;
    by_id_[id] = entry{std::move(s), token};
    return displaced;
}

/// Takes it out of what is listed; its token stays known for a while. The mutex is held.
void session_registry::end(std::unordered_map<std::string, entry>::iterator at)
{
    ended_.push_back(at->second.token);
    by_id_.erase(at);
    if (ended_.size() <= most_ended) return;
    by_token_.erase(ended_.front());
    ended_.pop_front();
}

session_ptr session_registry::revoke_id(std::string_view id)
{
    const std::unique_lock lock(mutex_);
    const auto at = by_id_.find(std::string(id));
    if (at == by_id_.end()) return nullptr;
    session_ptr s = at->second.live;
    s->revoked.store(true, std::memory_order_release);
    end(at);
    return s;
}

session_ptr session_registry::revoke_token(std::string_view token)
{
    const session_ptr s = find_token(token);
    return s ? revoke_id(s->info.id) : nullptr;
}

std::vector<session_ptr> session_registry::revoke_sandbox(std::string_view sandbox)
{
    std::vector<session_ptr> gone;
    if (sandbox.empty()) return gone;
    const std::unique_lock lock(mutex_);
    for (auto at = by_id_.begin(); at != by_id_.end();) {
        const auto here = at++;
        if (here->second.live->info.sandbox != sandbox) continue;
        here->second.live->revoked.store(true, std::memory_order_release);
        gone.push_back(here->second.live);
        end(here);
    }
    return gone;
}

std::vector<session_ptr> session_registry::retire_expired(std::int64_t before_us)
{
    std::vector<session_ptr> gone;
    const std::unique_lock lock(mutex_);
    for (auto at = by_id_.begin(); at != by_id_.end();) {
        const auto here = at++;
        if (!here->second.live->expired(before_us)) continue;
        gone.push_back(here->second.live);
        end(here);
    }
    return gone;
}

std::vector<session_ptr> session_registry::all() const
{
    std::vector<session_ptr> out;
    {
        const std::shared_lock lock(mutex_);
        out.reserve(by_id_.size());
        for (const auto& [id, e] : by_id_) {
            out.push_back(e.live);
        }
    }
    std::ranges::sort(out, [](const session_ptr& a, const session_ptr& b) {
        return a->info.created_us != b->info.created_us ? a->info.created_us > b->info.created_us
                                                        : a->info.id < b->info.id;
    });
    return out;
}

std::size_t session_registry::size() const
{
    const std::shared_lock lock(mutex_);
    return by_id_.size();
}

}  // namespace keyhole::proxy
