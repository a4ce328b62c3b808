// A session is what a sandbox may do. The registry answers "who is this token?" on the workers; the store
// (session_store.hpp) keeps sessions in SQLite. Tokens exist in clear only in the answer that creates them;
// everywhere else there is a SHA-256 digest. Thread rule: a session is immutable but for its atomics and its
// budget; look-ups from any thread, changes from the control thread.
#pragma once

#include "config/secret.hpp"
#include "metering/budget.hpp"

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <shared_mutex>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace keyhole::proxy {

using token_digest = std::array<std::uint8_t, 32>;

/// kh_ + 256 random bits + checksum, so that secret scanners can find it: "kh_" + 43 base64url characters + 6
/// of CRC-32 (base62).
std::string mint_token();
/// SHA-256. Constant time in the token's content.
token_digest digest_of(std::string_view token) noexcept;
/// 8 to 512 bytes of visible ASCII, "session-" not counted among the 8.
bool is_well_formed_token(std::string_view token) noexcept;
/// "ses_" + 100 random bits.
std::string mint_session_id();

/// A key that came with the session (GhostProxy's registry API). In locked memory only: it is never written
/// to disk, so such a session does not outlive the process; the orchestrator registers it again.
struct session_credential {
    std::string provider;  ///< name of a configured or known provider
    config::secret_ptr key;
    std::string upstream_url;  ///< empty: the provider's
};

struct session_info {
    std::string id;                             ///< "ses_" + 20 characters; not a secret
    std::string name;                           ///< for people; may be empty
    std::string account;                        ///< parent account id; empty: none
    std::string sandbox;                        ///< sandbox id; empty: none
    std::map<std::string, std::string> labels;  ///< "run", "attempt" and up to 14 more, 64 bytes each
    std::vector<std::string> providers;         ///< empty: all configured ones
    std::vector<std::string> models;            ///< exact names or "prefix*"; empty: all
    std::vector<std::string> operations;        ///< "chat", "responses", "embeddings", …; empty: all
    std::vector<metering::limit> limits;
    std::int64_t created_us = 0;
    std::int64_t expires_us = 0;  ///< 0: never
    bool own_socket = false;      ///< reached through <agents.session_sockets>/<id>/llm.sock without a token
    bool cut_on_revoke = true;    ///< running streams end when the session is revoked
    std::string gone_policy;      ///< "drain" | "cancel"; empty: the configuration's
    std::string token_hint;       ///< last four characters, to recognise it by
    std::int64_t revoked_us = 0;  ///< as stored, 0: not revoked; a live session has its own flag
};

class session {
public:
    session(session_info info, std::shared_ptr<metering::budget> budget,
            std::optional<session_credential> credential);

    const session_info info;
    const std::shared_ptr<metering::budget> budget;
    const std::optional<session_credential> credential;
    std::atomic<bool> revoked{false};
    std::atomic<std::uint32_t> connections{0};

    bool expired(std::int64_t now_us) const noexcept
    {
        return info.expires_us != 0 && now_us >= info.expires_us;
    }
    bool may_use_provider(std::string_view provider) const noexcept;
    bool may_use_model(std::string_view model) const noexcept;
    bool may_use_operation(std::string_view operation) const noexcept;
};

using session_ptr = std::shared_ptr<session>;

class session_registry {
public:
    /// Tokens are looked up by digest; the digests are then compared in constant time. An empty or malformed
    /// token (under 8 or over 512 bytes, bytes outside visible ASCII) never reaches the table. "session-X"
    /// and "X" are one token (GhostProxy).
    session_ptr find_token(std::string_view token) const;
    session_ptr find_id(std::string_view id) const;

    /// Registers `s`. A session that had this token until now is revoked and returned.
    session_ptr add(const token_digest& token, session_ptr s);
    /// Takes effect for the very next request on any thread before this returns. The token of a session that
    /// ended stays known for a while: find_token() returns it, revoked, so that its holder is told why.
    session_ptr revoke_id(std::string_view id);
    session_ptr revoke_token(std::string_view token);
    std::vector<session_ptr> revoke_sandbox(std::string_view sandbox);
    /// Takes those out of the listing that had expired at `before_us`, and returns them.
    std::vector<session_ptr> retire_expired(std::int64_t before_us);
    /// Live (and lately expired) ones, newest first.
    std::vector<session_ptr> all() const;
    std::size_t size() const;

private:
    struct digest_hash {
        std::size_t operator()(const token_digest& d) const noexcept;
    };
    struct entry {
        session_ptr live;
        token_digest token;
    };
    session_ptr find_digest(const token_digest& digest) const;
    void end(std::unordered_map<std::string, entry>::iterator at);

    mutable std::shared_mutex mutex_;
    std::unordered_map<token_digest, session_ptr, digest_hash> by_token_;
    std::unordered_map<std::string, entry> by_id_;
    std::deque<token_digest> ended_;  ///< oldest first; their sessions are in by_token_ only
};

}  // namespace keyhole::proxy
