#include "proxy/session_store.hpp"

#include "metering/record.hpp"
#include "metering/sqlite.hpp"

#include <nlohmann/json.hpp>
#include <openssl/rand.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <span>
#include <stdexcept>
#include <sys/stat.h>
#include <utility>

namespace keyhole::proxy {
namespace {

namespace sqlite = metering::sqlite;
using nlohmann::json;

constexpr std::size_t longest_label = 64;
constexpr std::size_t most_labels = 16;

constexpr const char* schema = R"(
    CREATE TABLE sessions (
        id TEXT PRIMARY KEY,
        token_digest BLOB UNIQUE,              -- SHA-256; NULL: reached through its own socket only
        created_us INTEGER NOT NULL,
        expires_us INTEGER NOT NULL,           -- 0: never
        revoked_us INTEGER NOT NULL DEFAULT 0, -- 0: not revoked
        sandbox TEXT NOT NULL,
        account TEXT NOT NULL,
        facts TEXT NOT NULL                    -- JSON: the rest of session_info
    ) STRICT;
    CREATE INDEX sessions_by_sandbox ON sessions (sandbox) WHERE sandbox <> '';
    CREATE TABLE accounts (id TEXT PRIMARY KEY, limits TEXT NOT NULL) STRICT;
    PRAGMA user_version = 1;
)";

json limits_to_json(const std::vector<metering::limit>& limits)
{
    json out = json::array();
    for (const auto& l : limits)
        out.push_back(metering::to_string(l));
    return out;
}

std::vector<metering::limit> limits_from_json(const json& list)
{
    std::vector<metering::limit> out;
    for (const auto& item : list)
        if (const auto l = metering::parse_limit(item.get<std::string>())) out.push_back(*l);
    return out;
}

std::string facts_of(const session_info& i)
{
    return json{{"name", i.name},
                {"labels", i.labels},
                {"providers", i.providers},
                {"models", i.models},
                {"operations", i.operations},
                {"limits", limits_to_json(i.limits)},
                {"own_socket", i.own_socket},
                {"cut_on_revoke", i.cut_on_revoke},
                {"gone_policy", i.gone_policy},
                {"token_hint", i.token_hint}}
        .dump();
}

void read_facts(session_info& i, std::string_view text)
{
    const auto f = json::parse(text);
    i.name = f.value("name", "");
    i.labels = f.value("labels", std::map<std::string, std::string>{});
    i.providers = f.value("providers", std::vector<std::string>{});
    i.models = f.value("models", std::vector<std::string>{});
    i.operations = f.value("operations", std::vector<std::string>{});
    i.limits = limits_from_json(f.value("limits", json::array()));
    i.own_socket = f.value("own_socket", false);
    i.cut_on_revoke = f.value("cut_on_revoke", true);
    i.gone_policy = f.value("gone_policy", "");
    i.token_hint = f.value("token_hint", "");
}

session_info read_row(const sqlite::statement& row)
{
    session_info i;
    i.id = row.text(0);
    i.created_us = row.integer(2);
    i.expires_us = row.integer(3);
    i.sandbox = row.text(5);
    i.account = row.text(6);
    read_facts(i, row.text(7));
    return i;
}

constexpr std::string_view columns =
    "id, token_digest, created_us, expires_us, revoked_us, sandbox, account, facts";

std::string mint_id()
{
    unsigned char random[20];
    if (RAND_bytes(random, sizeof random) != 1) throw std::runtime_error("the system gives no random bytes");
    std::string id = "ses_";
    for (const auto b : random)
        id += "0123456789abcdefghijklmnopqrstuv"[b & 31U];
    return id;
}

void check_text(const char* field, const std::string& value, std::size_t longest)
{
    if (value.size() > longest)
        throw std::invalid_argument(std::string(field) + ": longer than " + std::to_string(longest) +
                                    " bytes");
    for (const char c : value)
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
            throw std::invalid_argument(std::string(field) + ": holds a control character");
}

void check(const session_info& i)
{
    check_text("name", i.name, 128);
    check_text("account", i.account, 40);
    check_text("sandbox", i.sandbox, 128);
    if (i.labels.size() > most_labels) throw std::invalid_argument("labels: more than 16");
    for (const auto& [key, value] : i.labels) {
        check_text("labels", key, longest_label);
        check_text("labels", value, longest_label);
    }
    for (const auto* list : {&i.providers, &i.models, &i.operations})
        for (const auto& entry : *list)
            check_text("providers, models, operations", entry, 256);
    if (!i.gone_policy.empty() && i.gone_policy != "drain" && i.gone_policy != "cancel")
        throw std::invalid_argument("gone_policy: \"" + i.gone_policy +
                                    "\" is unknown (one of: drain, cancel)");
}

std::int64_t used_of(const metering::usage_sum& sum, metering::limit_unit unit)
{
    switch (unit) {
    case metering::limit_unit::usd:
        return sum.cost_nano_usd;
    case metering::limit_unit::tokens:
        return sum.counts.total();
    case metering::limit_unit::requests:
        return sum.requests;
    case metering::limit_unit::concurrency:
        break;
    }
    return 0;
}

/// What the ledger holds for each limit's current window.
void restore(metering::budget& b, const metering::ledger& books, bool account, std::int64_t now_us)
{
    for (const auto& l : b.limits()) {
        if (l.unit == metering::limit_unit::concurrency) continue;
        metering::usage_query q;
        q.since_us = metering::window_start(l.window, now_us);
        (account ? q.account : q.session) = b.owner();
        for (const auto& [name, sum] : books.usage(q))
            b.restore(l, used_of(sum, l.unit), now_us);
    }
}

}  // namespace

struct session_store::impl {
    sqlite::connection db;
    std::map<std::string, std::shared_ptr<metering::budget>> account_budgets;

    std::shared_ptr<metering::budget> parent_of(const std::string& account)
    {
        if (account.empty()) return nullptr;
        const auto at = account_budgets.find(account);
        if (at == account_budgets.end())
            throw std::invalid_argument("account: \"" + account +
                                        "\" does not exist (make it first: keyhole account set " + account +
                                        " --limit usd/month=…)");
        return at->second;
    }

    std::vector<account_info> read_accounts()
    {
        std::vector<account_info> out;
        auto rows = db.prepare("SELECT id, limits FROM accounts ORDER BY id");
        while (rows.step())
            out.push_back({std::string(rows.text(0)), limits_from_json(json::parse(rows.text(1)))});
        return out;
    }
};

session_store::session_store(const std::string& directory) : impl_(std::make_unique<impl>())
{
    const auto path = directory + "/sessions.db";
    try {
        impl_->db = sqlite::connection(path, sqlite::mode::create, 5000);
        ::chmod(path.c_str(), 0600);
        impl_->db.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;");
        const auto version = impl_->db.integer("PRAGMA user_version");
        if (version > 1)
            throw std::runtime_error("was written by a newer keyhole (schema " + std::to_string(version) +
                                     "); use that one, or another state.directory");
        if (version == 0) {
            sqlite::transaction t(impl_->db);
            impl_->db.exec(schema);
            t.commit();
        }
    } catch (const std::exception& e) {
        throw std::runtime_error(
            path + ": " + e.what() +
            " (check the directory's permissions and that no other program writes there)");
    }
}

session_store::~session_store() = default;

std::size_t session_store::load_into(session_registry& registry, const metering::ledger& books,
                                     std::int64_t now_us)
{
    for (const auto& a : impl_->read_accounts()) {
        auto b = std::make_shared<metering::budget>(a.id, a.limits);
        restore(*b, books, true, now_us);
        impl_->account_budgets[a.id] = std::move(b);
    }
    std::size_t n = 0;
    auto rows =
        impl_->db.prepare("SELECT " + std::string(columns) +
                          " FROM sessions WHERE revoked_us = 0 AND (expires_us = 0 OR expires_us > ?)");
    rows.bind(1, now_us);
    while (rows.step()) {
        auto info = read_row(rows);
        token_digest digest{};
        const auto blob = rows.blob(1);
        if (blob.size() == digest.size())
            std::memcpy(digest.data(), blob.data(), digest.size());
        else
            digest = digest_of(mint_token());  // nobody holds it: the session is reached through its socket
        const auto account = impl_->account_budgets.find(info.account);
        auto b = std::make_shared<metering::budget>(
            info.id, info.limits, account == impl_->account_budgets.end() ? nullptr : account->second);
        restore(*b, books, false, now_us);
        registry.add(digest, std::make_shared<session>(std::move(info), std::move(b), std::nullopt));
        ++n;
    }
    return n;
}

minted_session session_store::create(session_registry& registry, session_info info,
                                     const std::string& given_token,
                                     std::optional<session_credential> credential)
{
    check(info);
    info.id = mint_id();
    info.created_us = metering::now_us();
    if (info.expires_us != 0 && info.expires_us <= info.created_us)
        throw std::invalid_argument("ttl: ends before it begins");
    const auto parent = impl_->parent_of(info.account);
    minted_session out;
    const bool socket_only = info.own_socket && given_token.empty();
    out.token = given_token.empty() ? mint_token() : given_token;
    if (out.token.size() < 8 || out.token.size() > 512)
        throw std::invalid_argument("token: needs 8 to 512 bytes");
    info.token_hint = out.token.substr(out.token.size() - 4);
    const auto digest = digest_of(out.token);

    if (!credential) {
        const auto facts = facts_of(info);
        sqlite::transaction t(impl_->db);
        auto replace = impl_->db.prepare("DELETE FROM sessions WHERE token_digest = ?");
        replace.bind(1, std::span<const std::uint8_t>(digest)).run();
        auto insert = impl_->db.prepare("INSERT INTO sessions (" + std::string(columns) +
                                        ") VALUES (?, ?, ?, ?, 0, ?, ?, ?)");
        insert.bind(1, std::string_view(info.id));
        if (!socket_only) insert.bind(2, std::span<const std::uint8_t>(digest));
        insert.bind(3, info.created_us).bind(4, info.expires_us).bind(5, std::string_view(info.sandbox));
        insert.bind(6, std::string_view(info.account)).bind(7, std::string_view(facts)).run();
        t.commit();
    }
    auto b = std::make_shared<metering::budget>(info.id, info.limits, parent);
    out.live = std::make_shared<session>(std::move(info), std::move(b), std::move(credential));
    registry.add(digest, out.live);
    if (socket_only) {
        config::wipe(out.token.data(), out.token.size());
        out.token.clear();
    }
    return out;
}

void session_store::mark_revoked(const std::string& id, std::int64_t now_us)
{
    auto update = impl_->db.prepare("UPDATE sessions SET revoked_us = ? WHERE id = ? AND revoked_us = 0");
    update.bind(1, now_us).bind(2, std::string_view(id)).run();
}

void session_store::put_account(const account_info& account, const metering::ledger& books,
                                std::int64_t now_us)
{
    if (account.id.empty()) throw std::invalid_argument("account: needs an id");
    check_text("account", account.id, 40);
    const auto limits = limits_to_json(account.limits).dump();
    auto put = impl_->db.prepare("INSERT INTO accounts (id, limits) VALUES (?, ?) ON CONFLICT (id) DO UPDATE "
                                 "SET limits = excluded.limits");
    put.bind(1, std::string_view(account.id)).bind(2, std::string_view(limits)).run();
    auto& b = impl_->account_budgets[account.id];
    if (!b) {
        b = std::make_shared<metering::budget>(account.id, account.limits);
        restore(*b, books, true, now_us);
    } else
        b->replace_limits(account.limits, now_us, [&](const metering::limit& l) {
            metering::usage_query q;
            q.since_us = metering::window_start(l.window, now_us);
            q.account = account.id;
            const auto sums = books.usage(q);
            return sums.empty() ? 0 : used_of(sums.front().second, l.unit);
        });
}

std::vector<account_info> session_store::accounts() const
{
    return impl_->read_accounts();
}

std::vector<session_info> session_store::list(bool all) const
{
    std::vector<session_info> out;
    auto rows = impl_->db.prepare("SELECT " + std::string(columns) +
                                  " FROM sessions WHERE ? OR revoked_us = 0 ORDER BY created_us DESC, id");
    rows.bind(1, std::int64_t{all});
    while (rows.step())
        out.push_back(read_row(rows));
    return out;
}

}  // namespace keyhole::proxy
