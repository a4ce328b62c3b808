#include "proxy/session_store.hpp"

#include "metering/record.hpp"
#include "metering/sqlite.hpp"
#include "proxy/route.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <map>
#include <span>
#include <stdexcept>
#include <sys/stat.h>
#include <utility>

namespace keyhole::proxy {
namespace {

namespace sqlite = metering::sqlite;
using nlohmann::json;

/// "KHSE": marks the file, so that another program's database is never written to.
constexpr std::int64_t application_id = 0x4B485345;
constexpr std::int64_t newest_version = 1;
constexpr int busy_ms = 5000;

// The ledger's rows keep as many bytes of each: what is longer could not be found again by its name.
constexpr std::size_t longest_account = 40;
constexpr std::size_t longest_sandbox = 64;
constexpr std::size_t longest_name = 128;
constexpr std::size_t longest_label = 64;
constexpr std::size_t longest_entry = 256;
constexpr std::size_t most_labels = 16;
constexpr std::size_t most_entries = 256;

// Version 1. Never edited once released: a change is a further step in migrate().
constexpr const char* version_1 = R"sql(
CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    token_digest BLOB,           -- SHA-256 of the token; NULL: reached through its own socket only
    created_us INTEGER NOT NULL,
    expires_us INTEGER NOT NULL, -- 0: never
    revoked_us INTEGER NOT NULL, -- 0: not revoked
    keyed INTEGER NOT NULL,      -- 1: came with a key, which is in memory only: ends with the process
    sandbox TEXT NOT NULL,
    account TEXT NOT NULL,
    facts TEXT NOT NULL          -- JSON: the rest of session_info
) STRICT;
CREATE UNIQUE INDEX sessions_by_live_token ON sessions (token_digest) WHERE token_digest IS NOT NULL AND revoked_us = 0;
CREATE INDEX sessions_by_token ON sessions (token_digest) WHERE token_digest IS NOT NULL;
CREATE INDEX sessions_by_time ON sessions (created_us);
CREATE TABLE accounts (id TEXT PRIMARY KEY, limits TEXT NOT NULL) STRICT;
)sql";

constexpr const char* columns =
    "id, token_digest, created_us, expires_us, revoked_us, keyed, sandbox, account, facts";

void migrate(sqlite::connection& db)
{
    const std::int64_t tables = db.integer("SELECT count(*) FROM sqlite_schema");
    const std::int64_t version = db.integer("PRAGMA user_version");
    if (tables > 0 && db.integer("PRAGMA application_id") != application_id)
        throw std::runtime_error(
            "is a database of another program (move it away, or choose another state.directory)");
    if (version > newest_version)
        throw std::runtime_error("was written by a newer version (its schema is " + std::to_string(version) +
                                 ", this program knows " + std::to_string(newest_version) +
                                 "; run the newer one)");
    if (version == newest_version) return;
    sqlite::transaction t(db);
    // Another process may have migrated while this one waited for the lock.
    if (db.integer("PRAGMA user_version") < 1) db.exec(version_1);
    db.exec("PRAGMA application_id = " + std::to_string(application_id));
    db.exec("PRAGMA user_version = " + std::to_string(newest_version));
    t.commit();
}

sqlite::connection open(const std::string& path)
{
    try {
        sqlite::make_file(path, migrate);
        ::chmod(path.c_str(), 0600);
        sqlite::connection db(path, sqlite::mode::read_write, busy_ms);
        db.exec("PRAGMA synchronous = FULL");  // a revoked session must not come back after a power cut
        migrate(db);
        db.exec("PRAGMA journal_mode = WAL");
        return db;
    } catch (const sqlite::error& e) {
        throw std::runtime_error(path + ": " + e.what() +
                                 " (check the owner and the mode of state.directory, and its disk)");
    } catch (const std::runtime_error& e) {
        throw std::runtime_error(path + ": " + e.what());
    }
}

// ---- rows

json limits_to_json(const std::vector<metering::limit>& limits)
{
    json out = json::array();
    for (const auto& l : limits) {
        out.push_back(metering::to_string(l));
    }
    return out;
}

std::vector<metering::limit> limits_from_json(const json& list)
{
    std::vector<metering::limit> out;
    for (const auto& text : list) {
        const auto l = metering::parse_limit(text.get<std::string>());
        // BUDGET_HOLDS: a limit that is not understood must not turn into no limit.
        if (!l)
            throw std::runtime_error("sessions.db holds a limit that this version does not know: " +
                                     text.dump());
        out.push_back(*l);
    }
    return out;
}

std::string facts_of(const session_info& i)
{
    const json facts{{"name", i.name},
                     {"labels", i.labels},
                     {"providers", i.providers},
                     {"models", i.models},
                     {"operations", i.operations},
                     {"limits", limits_to_json(i.limits)},
                     {"own_socket", i.own_socket},
                     {"cut_on_revoke", i.cut_on_revoke},
                     {"gone_policy", i.gone_policy},
                     {"token_hint", i.token_hint}};
    return facts.dump();
}

session_info read_row(const sqlite::statement& row)
{
    session_info i;
    i.id = row.text(0);
    i.created_us = row.integer(2);
    i.expires_us = row.integer(3);
    i.revoked_us = row.integer(4);
    i.sandbox = row.text(6);
    i.account = row.text(7);
    const json facts = json::parse(row.text(8));
    facts.at("name").get_to(i.name);
    facts.at("labels").get_to(i.labels);
    facts.at("providers").get_to(i.providers);
    facts.at("models").get_to(i.models);
    facts.at("operations").get_to(i.operations);
    i.limits = limits_from_json(facts.at("limits"));
    facts.at("own_socket").get_to(i.own_socket);
    facts.at("cut_on_revoke").get_to(i.cut_on_revoke);
    facts.at("gone_policy").get_to(i.gone_policy);
    facts.at("token_hint").get_to(i.token_hint);
    return i;
}

// ---- checks

[[noreturn]] void bad(const std::string& field, const std::string& why)
{
    throw std::invalid_argument(field + ": " + why);
}

void check_text(const std::string& field, const std::string& value, std::size_t longest)
{
    if (value.size() > longest) bad(field, "longer than " + std::to_string(longest) + " bytes");
    const auto is_control = [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; };
    if (std::ranges::any_of(value, is_control)) bad(field, "holds a control character");
}

void check_list(const std::string& field, const std::vector<std::string>& list)
{
    if (list.size() > most_entries) bad(field, "more than " + std::to_string(most_entries) + " entries");
    for (const auto& entry : list) {
        if (entry.empty()) bad(field, "an entry is empty");
        check_text(field, entry, longest_entry);
    }
}

void check_limits(const std::vector<metering::limit>& limits)
{
    for (std::size_t i = 0; i < limits.size(); ++i) {
        for (std::size_t j = 0; j < i; ++j) {
            if (limits[i].unit != limits[j].unit || limits[i].window != limits[j].window) continue;
            const std::string text = metering::to_string(limits[i]);
            bad("limits", text.substr(0, text.find('=')) + " stands twice");
        }
    }
}

void check(const session_info& i)
{
    check_text("name", i.name, longest_name);
    check_text("account", i.account, longest_account);
    check_text("sandbox", i.sandbox, longest_sandbox);
    if (i.labels.size() > most_labels) bad("labels", "more than " + std::to_string(most_labels));
    for (const auto& [key, value] : i.labels) {
        if (key.empty()) bad("labels", "a label has no name");
        check_text("labels", key, longest_label);
        check_text("labels", value, longest_label);
    }
    check_list("providers", i.providers);
    check_list("models", i.models);
    check_list("operations", i.operations);
    for (const auto& m : i.models) {
        if (m.find('*') < m.size() - 1) bad("models", "\"" + m + "\" has a * that is not its last character");
    }
    check_limits(i.limits);
    if (!i.gone_policy.empty() && i.gone_policy != "drain" && i.gone_policy != "cancel")
        bad("gone_policy", "\"" + i.gone_policy + "\" is unknown (one of: drain, cancel)");
}

bool is_account_id(const std::string& id)
{
    const auto allowed = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               std::string_view("._:@-").find(c) != std::string_view::npos;
    };
    return !id.empty() && id.size() <= longest_account && std::ranges::all_of(id, allowed);
}

// ---- budgets

/// Model requests only: asking for the list of models is in the books and in no limit.
bool is_counted(std::string_view route) noexcept
{
    return std::ranges::none_of(route_table(), [&](const auto& r) { return !r.counts && r.name == route; });
}

/// What the ledger holds for the limit's current window, of a session or of an account.
std::int64_t used_in_window(const metering::ledger& books, const metering::limit& l, bool account,
                            const std::string& id, std::int64_t now_us)
{
    using metering::limit_unit;
    if (l.unit == limit_unit::concurrency) return 0;
    metering::usage_query q;
    q.since_us = metering::window_start(l.window, now_us);
    (account ? q.account : q.session) = id;
    if (l.unit == limit_unit::requests) q.by = metering::group_by::route;
    std::int64_t used = 0;
    for (const auto& [group, sum] : books.usage(q)) {
        if (l.unit == limit_unit::usd)
            used += sum.cost_nano_usd;
        else if (l.unit == limit_unit::tokens)
            used += sum.counts.total() + sum.beyond_tokens;
        else if (is_counted(group))
            used += sum.requests;
    }
    return used;
}

/// BUDGET_HOLDS across restarts.
void restore(metering::budget& b, const metering::ledger& books, bool account, std::int64_t now_us)
{
    for (const auto& l : b.limits()) {
        const std::int64_t used = used_in_window(books, l, account, b.owner(), now_us);
        if (used != 0) b.restore(l, used, now_us);
    }
}

}  // namespace

struct session_store::impl {
    sqlite::connection db;
    sqlite::statement insert;
    sqlite::statement revoke_id;
    sqlite::statement revoke_digest;
    sqlite::statement end_keyed;
    sqlite::statement select_live;
    sqlite::statement select_all;
    sqlite::statement select_one;
    sqlite::statement select_digest;
    sqlite::statement put_account;
    sqlite::statement select_accounts;
    std::map<std::string, std::shared_ptr<metering::budget>> account_budgets;

    explicit impl(const std::string& directory) : db(open(directory + "/sessions.db"))
    {
        const std::string select = std::string("SELECT ") + columns + " FROM sessions ";
        insert = db.prepare(std::string("INSERT INTO sessions (") + columns +
                            ") VALUES (?, ?, ?, ?, 0, ?, ?, ?, ?)");
        revoke_id = db.prepare("UPDATE sessions SET revoked_us = ?1 WHERE id = ?2 AND revoked_us = 0");
        revoke_digest =
            db.prepare("UPDATE sessions SET revoked_us = ?1 WHERE token_digest = ?2 AND revoked_us = 0");
        end_keyed = db.prepare("UPDATE sessions SET revoked_us = ?1 WHERE keyed = 1 AND revoked_us = 0");
        select_live = db.prepare(select + "WHERE revoked_us = 0 AND (expires_us = 0 OR expires_us > ?1) "
                                          "ORDER BY created_us DESC, id");
        select_all = db.prepare(select + "ORDER BY created_us DESC, id");
        select_one = db.prepare(select + "WHERE id = ?1");
        select_digest = db.prepare("SELECT id FROM sessions WHERE token_digest = ?1");
        put_account = db.prepare("INSERT INTO accounts (id, limits) VALUES (?1, ?2) "
                                 "ON CONFLICT (id) DO UPDATE SET limits = excluded.limits");
        select_accounts = db.prepare("SELECT id, limits FROM accounts ORDER BY id");
    }

    std::shared_ptr<metering::budget> parent_of(const std::string& account) const
    {
        if (account.empty()) return nullptr;
        const auto at = account_budgets.find(account);
        if (at == account_budgets.end())
            bad("account", "\"" + account + "\" does not exist (make it first: keyhole account set " +
                               account + " --limit usd/month=50)");
        return at->second;
    }

    void write(const session_info& i, const token_digest* digest, bool keyed)
    {
        const std::string facts = facts_of(i);
        sqlite::transaction t(db);
        if (digest != nullptr) {
            revoke_digest.bind(1, i.created_us).bind(2, std::span<const std::uint8_t>(*digest)).run();
        }
        // An empty span is NULL to SQLite.
        insert.bind(2, digest != nullptr ? std::span<const std::uint8_t>(*digest)
                                         : std::span<const std::uint8_t>());
        insert.bind(1, std::string_view(i.id)).bind(3, i.created_us).bind(4, i.expires_us);
        insert.bind(5, std::int64_t{keyed})
            .bind(6, std::string_view(i.sandbox))
            .bind(7, std::string_view(i.account));
        insert.bind(8, std::string_view(facts)).run();
        t.commit();
    }
};

namespace {

/// Each row of a prepared SELECT; leaves it reset, whatever happens.
template <class Each>
void for_rows(sqlite::statement& s, Each each)
{
    struct resetting {
        sqlite::statement& of;
        ~resetting() { of.reset(); }
    } at_end{s};
    while (s.step()) {
        each(s);
    }
}

}  // namespace

session_store::session_store(const std::string& directory) : impl_(std::make_unique<impl>(directory)) {}

session_store::~session_store() = default;

std::size_t session_store::load_into(session_registry& registry, const metering::ledger& books,
                                     std::int64_t now_us)
{
    impl_->end_keyed.bind(1, now_us).run();
    for (const auto& a : accounts()) {
        auto b = std::make_shared<metering::budget>(a.id, a.limits);
        restore(*b, books, true, now_us);
        impl_->account_budgets[a.id] = std::move(b);
    }
    std::size_t loaded = 0;
    impl_->select_live.bind(1, now_us);
    for_rows(impl_->select_live, [&](const sqlite::statement& row) {
        session_info info = read_row(row);
        token_digest digest{};
        const auto stored = row.blob(1);
        // Without a token of its own it gets one that nobody holds: it is reached through its socket.
        if (stored.size() == digest.size())
            std::ranges::copy(stored, digest.begin());
        else
            digest = digest_of(mint_token());
        auto b = std::make_shared<metering::budget>(info.id, info.limits, impl_->parent_of(info.account));
        restore(*b, books, false, now_us);
        registry.add(digest, std::make_shared<session>(std::move(info), std::move(b), std::nullopt));
        ++loaded;
    });
    return loaded;
}

minted_session session_store::create(session_registry& registry, session_info info,
                                     const std::string& given_token,
                                     std::optional<session_credential> credential)
{
    check(info);
    const auto parent = impl_->parent_of(info.account);
    if (!given_token.empty() && !is_well_formed_token(given_token))
        bad("token", "needs 8 to 512 visible ASCII characters, \"session-\" not counted");
    info.id = mint_session_id();
    info.created_us = metering::now_us();
    info.revoked_us = 0;
    if (info.expires_us != 0 && info.expires_us <= info.created_us) bad("ttl", "ends before it begins");

    minted_session out;
    const bool socket_only = info.own_socket && given_token.empty();
    out.token = given_token.empty() ? mint_token() : given_token;
    if (!socket_only) info.token_hint = out.token.substr(out.token.size() - 4);
    const token_digest digest = digest_of(out.token);
    if (socket_only) {
        config::wipe(out.token.data(), out.token.size());
        out.token.clear();
    }
    impl_->write(info, socket_only ? nullptr : &digest, credential.has_value());
    auto b = std::make_shared<metering::budget>(info.id, info.limits, parent);
    out.live = std::make_shared<session>(std::move(info), std::move(b), std::move(credential));
    out.replaced = registry.add(digest, out.live);
    return out;
}

void session_store::mark_revoked(const std::string& id, std::int64_t now_us)
{
    impl_->revoke_id.bind(1, now_us).bind(2, std::string_view(id)).run();
}

void session_store::put_account(const account_info& account, const metering::ledger& books,
                                std::int64_t now_us)
{
    if (!is_account_id(account.id))
        bad("account", "an id has 1 to " + std::to_string(longest_account) + " letters, digits or ._:@-");
    check_limits(account.limits);
    const std::string limits = limits_to_json(account.limits).dump();
    impl_->put_account.bind(1, std::string_view(account.id)).bind(2, std::string_view(limits)).run();
    auto& b = impl_->account_budgets[account.id];
    if (b) {
        b->replace_limits(account.limits, now_us, [&](const metering::limit& l) {
            return used_in_window(books, l, true, account.id, now_us);
        });
        return;
    }
    b = std::make_shared<metering::budget>(account.id, account.limits);
    restore(*b, books, true, now_us);
}

std::vector<account_info> session_store::accounts() const
{
    std::vector<account_info> out;
    for_rows(impl_->select_accounts, [&](const sqlite::statement& row) {
        out.push_back({std::string(row.text(0)), limits_from_json(json::parse(row.text(1)))});
    });
    return out;
}

std::shared_ptr<metering::budget> session_store::account_budget(const std::string& id) const
{
    const auto at = impl_->account_budgets.find(id);
    return at == impl_->account_budgets.end() ? nullptr : at->second;
}

std::vector<session_info> session_store::list(bool all) const
{
    std::vector<session_info> out;
    if (!all) impl_->select_live.bind(1, metering::now_us());
    for_rows(all ? impl_->select_all : impl_->select_live,
             [&](const sqlite::statement& row) { out.push_back(read_row(row)); });
    return out;
}

std::optional<session_info> session_store::find(const std::string& id) const
{
    std::optional<session_info> out;
    impl_->select_one.bind(1, std::string_view(id));
    for_rows(impl_->select_one, [&](const sqlite::statement& row) { out = read_row(row); });
    return out;
}

std::vector<std::string> session_store::ids_of_token(const token_digest& token) const
{
    std::vector<std::string> out;
    impl_->select_digest.bind(1, std::span<const std::uint8_t>(token));
    for_rows(impl_->select_digest, [&](const sqlite::statement& row) { out.emplace_back(row.text(0)); });
    return out;
}

}  // namespace keyhole::proxy
