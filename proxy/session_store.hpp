// Sessions on disk: one SQLite database (sessions.db) beside the ledger. Holds digests, never tokens, never
// keys. Thread rule: one thread at a time (the control thread; main before it starts).
#pragma once

#include "config/config.hpp"
#include "metering/ledger.hpp"
#include "proxy/session.hpp"

#include <memory>
#include <optional>
#include <string>

namespace keyhole::proxy {

struct account_info {
    std::string id;
    std::vector<metering::limit> limits;
};

/// A session as it is born: the only place where its token exists in clear.
struct minted_session {
    session_ptr live;
    std::string token;     ///< empty for a session that is only reached through its own socket
    session_ptr replaced;  ///< a session that had the given token until now: revoked, here and on disk
};

class session_store {
public:
    /// Opens or creates DIRECTORY/sessions.db (0600). Throws std::runtime_error with cause and remedy.
    explicit session_store(const std::string& directory);
    ~session_store();

    /// Puts every session that is neither revoked nor expired into the registry, its budgets restored from
    /// the ledger. Returns how many.
    std::size_t load_into(session_registry& registry, const metering::ledger& books, std::int64_t now_us);

    /// Creates the session: mints id and (unless the token is given, GhostProxy) token, commits to disk, then
    /// registers it. The key of a session with a credential of its own is never written: after a restart such
    /// a session is history, and registered anew. An account named in `info` must exist. Throws
    /// std::invalid_argument (bad field: which, why) or std::runtime_error (disk).
    minted_session create(session_registry& registry, session_info info, const std::string& given_token,
                          std::optional<session_credential> credential);
    /// Marks it revoked on disk. The registry's revoke_* comes first (it takes effect at once), this makes it
    /// last.
    void mark_revoked(const std::string& id, std::int64_t now_us);
    /// Creates or replaces an account and its limits (in force for its sessions at once).
    void put_account(const account_info& account, const metering::ledger& books, std::int64_t now_us);
    std::vector<account_info> accounts() const;
    /// The budget that the account's sessions share; nullptr: no such account.
    std::shared_ptr<metering::budget> account_budget(const std::string& id) const;
    /// Newest first; `all`: also revoked and expired ones (for `session list --all`).
    std::vector<session_info> list(bool all) const;
    /// A session of any age; nullopt: there never was one.
    std::optional<session_info> find(const std::string& id) const;
    /// Every session that ever had this token, also before a restart: its usage is the sum of theirs.
    std::vector<std::string> ids_of_token(const token_digest& token) const;

private:
    struct impl;
    std::unique_ptr<impl> impl_;
};

}  // namespace keyhole::proxy
