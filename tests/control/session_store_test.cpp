#include "control_fixture.hpp"
#include "metering/prune.hpp"
#include "metering/sqlite.hpp"

#include <sys/stat.h>

namespace keyhole::proxy::test {
namespace {

using metering::limit;
using metering::limit_unit;
using metering::limit_window;

class SessionStore : public ::testing::Test {
protected:
    SessionStore()
    {
        journal = std::make_unique<metering::journal>(dir / "inflight.journal", 64U, false);
        books = std::make_unique<metering::ledger>(dir.path(), *journal, false);
        reopen();
    }
    void reopen()
    {
        store.reset();
        registry = std::make_unique<session_registry>();
        store = std::make_unique<session_store>(dir.path());
        loaded = store->load_into(*registry, *books, metering::now_us());
    }
    minted_session create(session_info info = {}, const std::string& token = {})
    {
        return store->create(*registry, std::move(info), token, std::nullopt);
    }
    minted_session create_keyed(const std::string& token)
    {
        session_credential c{"openai", std::make_shared<const config::secret>("sk-real-key-of-the-provider"),
                             ""};
        return store->create(*registry, {}, token, std::move(c));
    }
    void book(const std::string& session, const std::string& account, std::int64_t nano_usd,
              std::int64_t ended_us)
    {
        metering::record r;
        r.request_id = metering::new_request_id();
        r.session = session;
        r.account = account;
        r.provider = "openai";
        r.counts.input = 100;
        r.cost_nano_usd = nano_usd;
        r.ended_us = ended_us;
        const auto slot = journal->open(r);
        journal->settle(*slot);
        books->submit(*slot);
        ASSERT_TRUE(books->flush(10));
    }

    temp_dir dir;
    std::unique_ptr<metering::journal> journal;
    std::unique_ptr<metering::ledger> books;
    std::unique_ptr<session_registry> registry;
    std::unique_ptr<session_store> store;
    std::size_t loaded = 0;
};

session_info full_info()
{
    session_info i;
    i.name = "näme";
    i.sandbox = "box-1";
    i.labels = {{"run", "42"}, {"team", "a\"b"}};
    i.providers = {"openai", "anthropic"};
    i.models = {"gpt-4o*"};
    i.operations = {"chat"};
    i.limits = {{limit_unit::usd, limit_window::day, 50'000'000},
                {limit_unit::concurrency, limit_window::total, 4}};
    i.expires_us = metering::now_us() + 3'600'000'000;
    i.cut_on_revoke = false;
    i.gone_policy = "cancel";
    return i;
}

TEST_F(SessionStore, KeepsEveryFieldAcrossARestart)
{
    const auto made = create(full_info());
    const session_info before = made.live->info;
    reopen();
    EXPECT_EQ(loaded, 1U);
    const auto found = registry->find_token(made.token);
    ASSERT_NE(found, nullptr);
    const session_info& after = found->info;
    EXPECT_EQ(after.id, before.id);
    EXPECT_EQ(after.name, before.name);
    EXPECT_EQ(after.sandbox, before.sandbox);
    EXPECT_EQ(after.labels, before.labels);
    EXPECT_EQ(after.providers, before.providers);
    EXPECT_EQ(after.models, before.models);
    EXPECT_EQ(after.operations, before.operations);
    EXPECT_EQ(after.limits, before.limits);
    EXPECT_EQ(after.created_us, before.created_us);
    EXPECT_EQ(after.expires_us, before.expires_us);
    EXPECT_EQ(after.cut_on_revoke, false);
    EXPECT_EQ(after.gone_policy, "cancel");
    EXPECT_EQ(after.token_hint, made.token.substr(48));
    EXPECT_EQ(found->budget->limits(), before.limits);
}

TEST_F(SessionStore, TOKEN_STAYS_HOME_NoFileHoldsATokenOrAKey)
{
    const auto made = create(full_info());
    create_keyed("session-0123456789abcdef0123456789abcdef");
    for (int i = 0; i < 2; ++i) {
        EXPECT_FALSE(dir.holds(made.token.substr(3, 40)));
        EXPECT_FALSE(dir.holds("0123456789abcdef0123456789abcdef"));
        EXPECT_FALSE(dir.holds("sk-real-key"));
        reopen();
    }
}

TEST_F(SessionStore, ItsFilesAreTheOwnersAlone)
{
    create();
    for (const char* name : {"sessions.db", "sessions.db-wal", "sessions.db-shm"}) {
        struct stat s{};
        if (::stat((dir / name).c_str(), &s) != 0) continue;
        EXPECT_EQ(s.st_mode & 0777, 0600U) << name;
    }
}

TEST_F(SessionStore, ARevokedSessionStaysRevokedAcrossARestart)
{
    const auto made = create();
    registry->revoke_id(made.live->info.id);
    store->mark_revoked(made.live->info.id, metering::now_us());
    reopen();
    EXPECT_EQ(loaded, 0U);
    EXPECT_EQ(registry->find_token(made.token), nullptr);
    EXPECT_TRUE(store->list(false).empty());
    ASSERT_EQ(store->list(true).size(), 1U);
    EXPECT_NE(store->list(true)[0].revoked_us, 0);
}

TEST_F(SessionStore, AnExpiredSessionDoesNotComeBack)
{
    session_info info;
    info.expires_us = metering::now_us() + 3'600'000'000;
    const auto made = create(info);
    registry = std::make_unique<session_registry>();
    EXPECT_EQ(store->load_into(*registry, *books, info.expires_us), 0U);
    EXPECT_EQ(store->load_into(*registry, *books, info.expires_us - 1), 1U);
    EXPECT_NE(registry->find_token(made.token), nullptr);
}

TEST_F(SessionStore, AKeyedSessionDoesNotOutliveTheProcessButItsUsageDoes)
{
    const auto made = create_keyed("session-0123456789");
    ASSERT_NE(made.live->credential, std::nullopt);
    EXPECT_EQ(made.live->credential->key->reveal(), "sk-real-key-of-the-provider");
    reopen();
    EXPECT_EQ(loaded, 0U);
    EXPECT_EQ(registry->find_token("session-0123456789"), nullptr);
    create_keyed("0123456789");
    const auto ids = store->ids_of_token(digest_of("session-0123456789"));
    EXPECT_EQ(ids.size(), 2U);
}

TEST_F(SessionStore, AGivenTokenThatIsInUseMovesToTheNewSessionForGood)
{
    const auto older = create({}, "token-by-the-orchestrator");
    const auto keyed = create_keyed("session-token-by-the-orchestrator");
    EXPECT_EQ(keyed.replaced, older.live);
    EXPECT_TRUE(older.live->revoked);
    reopen();  // neither the older one nor the keyed one may come back
    EXPECT_EQ(registry->find_token("token-by-the-orchestrator"), nullptr);
}

TEST_F(SessionStore, ASessionWithASocketOfItsOwnHasNoToken)
{
    session_info info;
    info.own_socket = true;
    const auto made = create(info);
    EXPECT_TRUE(made.token.empty());
    EXPECT_TRUE(made.live->info.token_hint.empty());
    const auto second = create(info);
    reopen();
    EXPECT_EQ(loaded, 2U);
    EXPECT_NE(registry->find_id(made.live->info.id), nullptr);
    EXPECT_NE(registry->find_id(second.live->info.id), nullptr);
}

TEST_F(SessionStore, BUDGET_HOLDS_UsageIsRestoredPerWindow)
{
    session_info info;
    info.limits = {{limit_unit::usd, limit_window::total, 1'000'000'000},
                   {limit_unit::usd, limit_window::day, 500'000'000},
                   {limit_unit::requests, limit_window::total, 10},
                   {limit_unit::tokens, limit_window::month, 1000}};
    const auto made = create(info);
    const std::int64_t now = metering::now_us();
    const std::int64_t last_year = now - std::int64_t{400} * 86400 * 1'000'000;
    book(made.live->info.id, "", 100'000'000, now);
    book(made.live->info.id, "", 30'000'000, last_year);
    book("ses_somebody_else", "", 900'000'000, now);
    reopen();
    const auto state = registry->find_token(made.token)->budget->state(now);
    ASSERT_EQ(state.size(), 4U);
    EXPECT_EQ(state[0].used, 130'000'000);
    EXPECT_EQ(state[1].used, 100'000'000);
    EXPECT_EQ(state[2].used, 2);
    EXPECT_EQ(state[3].used, 100);
}

TEST_F(SessionStore, BUDGET_HOLDS_WhatWasPrunedStillCounts)
{
    const std::int64_t now = metering::now_us();
    const std::int64_t month = metering::window_start(limit_window::month, now);
    session_info info;
    info.account = "team";
    info.limits = {{limit_unit::usd, limit_window::total, 1'000'000'000},
                   {limit_unit::usd, limit_window::month, 1'000'000'000},
                   {limit_unit::usd, limit_window::day, 500'000'000},
                   {limit_unit::requests, limit_window::month, 10}};
    store->put_account({"team", {{limit_unit::usd, limit_window::month, 2'000'000'000}}}, *books, now);
    const auto made = create(info);
    book(made.live->info.id, "team", 100'000'000, now);
    book(made.live->info.id, "team", 20'000'000, month);
    book(made.live->info.id, "team", 3'000'000, month - 1);
    reopen();
    const auto whole = registry->find_token(made.token)->budget->state(now);
    ASSERT_EQ(whole[0].used, 123'000'000);
    ASSERT_EQ(whole[1].used, 120'000'000);

    metering::pruner work(metering::prune_limit(now, now));
    books->run([&](metering::ledger_writer& to) { return work.slice(to); });
    const bool month_began_today = month == metering::prune_limit(now, now);
    ASSERT_EQ(work.report().rows, month_began_today ? 1 : 2);
    reopen();
    const auto after = registry->find_token(made.token)->budget->state(now);
    for (std::size_t i = 0; i < whole.size(); ++i) {
        EXPECT_EQ(after[i].used, whole[i].used) << i;
    }
    EXPECT_EQ(store->account_budget("team")->state(now)[0].used, 120'000'000);
}

TEST_F(SessionStore, AnAccountsLimitsHoldForAllItsSessionsAndAcrossARestart)
{
    const std::int64_t now = metering::now_us();
    store->put_account({"team-a", {{limit_unit::usd, limit_window::total, 100}}}, *books, now);
    session_info info;
    info.account = "team-a";
    const auto one = create(info);
    const auto two = create(info);
    auto held = one.live->budget->reserve({60, 0, true}, now);
    ASSERT_TRUE(std::holds_alternative<metering::reservation>(held));
    auto refused = two.live->budget->reserve({60, 0, true}, now);
    ASSERT_TRUE(std::holds_alternative<metering::refusal>(refused));
    EXPECT_EQ(std::get<metering::refusal>(refused).owner, "team-a");
    book(one.live->info.id, "team-a", 70, now);
    held = metering::reservation();
    reopen();
    auto again = registry->find_token(two.token)->budget->reserve({60, 0, true}, now);
    EXPECT_TRUE(std::holds_alternative<metering::refusal>(again));
    EXPECT_EQ(store->accounts().at(0).id, "team-a");
}

TEST_F(SessionStore, AnAccountsNewLimitsAreInForceAtOnce)
{
    const std::int64_t now = metering::now_us();
    store->put_account({"team-a", {}}, *books, now);
    session_info info;
    info.account = "team-a";
    const auto made = create(info);
    book(made.live->info.id, "team-a", 70, now);
    EXPECT_TRUE(
        std::holds_alternative<metering::reservation>(made.live->budget->reserve({60, 0, true}, now)));
    store->put_account({"team-a", {{limit_unit::usd, limit_window::total, 100}}}, *books, now);
    EXPECT_TRUE(std::holds_alternative<metering::refusal>(made.live->budget->reserve({60, 0, true}, now)));
    EXPECT_TRUE(
        std::holds_alternative<metering::reservation>(made.live->budget->reserve({20, 0, true}, now)));
}

TEST_F(SessionStore, RefusesWhatItCouldNotKeepAndSaysWhichField)
{
    const auto refuses = [&](session_info i, const std::string& field, const std::string& token = {}) {
        try {
            create(std::move(i), token);
            ADD_FAILURE() << field << " was accepted";
        } catch (const std::invalid_argument& e) {
            EXPECT_TRUE(std::string(e.what()).starts_with(field + ":")) << e.what();
        }
    };
    session_info i;
    i.name = std::string(129, 'x');
    refuses(i, "name");
    i = {};
    i.sandbox = "a\nb";
    refuses(i, "sandbox");
    i.sandbox = std::string(65, 'x');
    refuses(i, "sandbox");
    i = {};
    i.labels["k"] = std::string(65, 'x');
    refuses(i, "labels");
    i = {};
    for (int n = 0; n < 17; ++n) {
        i.labels[std::to_string(n)] = "v";
    }
    refuses(i, "labels");
    i = {};
    i.models = {"gpt*o"};
    refuses(i, "models");
    i.models = {""};
    refuses(i, "models");
    i = {};
    i.limits = {{limit_unit::usd, limit_window::day, 1}, {limit_unit::usd, limit_window::day, 2}};
    refuses(i, "limits");
    i = {};
    i.gone_policy = "sing";
    refuses(i, "gone_policy");
    i = {};
    i.account = "nobody";
    refuses(i, "account");
    i = {};
    i.expires_us = 1;
    refuses(i, "ttl");
    refuses({}, "token", "short");
    refuses({}, "token", "session-abc");
    EXPECT_EQ(registry->size(), 0U);
    EXPECT_TRUE(store->list(true).empty());
    EXPECT_THROW(store->put_account({"a b", {}}, *books, 0), std::invalid_argument);
    EXPECT_THROW(store->put_account({"", {}}, *books, 0), std::invalid_argument);
}

TEST(SessionStoreFile, SaysWhatIsWrongWithADirectoryThatIsNotThere)
{
    try {
        const session_store store("/nonexistent/keyhole");
        FAIL();
    } catch (const std::runtime_error& e) {
        EXPECT_NE(std::string(e.what()).find("/nonexistent/keyhole/sessions.db"), std::string::npos)
            << e.what();
    }
}

TEST(SessionStoreFile, LeavesAnotherProgramsDatabaseAlone)
{
    const temp_dir dir;
    {
        metering::sqlite::connection db(dir / "sessions.db", metering::sqlite::mode::create, 1000);
        db.exec("CREATE TABLE theirs (x)");
    }
    EXPECT_THROW(session_store(dir.path()), std::runtime_error);
    metering::sqlite::connection db(dir / "sessions.db", metering::sqlite::mode::read_only, 1000);
    EXPECT_EQ(db.integer("SELECT count(*) FROM sqlite_schema"), 1);
}

TEST(SessionStoreFile, RefusesANewerSchemaInsteadOfGuessing)
{
    const temp_dir dir;
    {
        const session_store store(dir.path());
    }
    {
        metering::sqlite::connection db(dir / "sessions.db", metering::sqlite::mode::read_write, 1000);
        db.exec("PRAGMA user_version = 99");
    }
    try {
        const session_store store(dir.path());
        FAIL();
    } catch (const std::runtime_error& e) {
        EXPECT_NE(std::string(e.what()).find("newer"), std::string::npos) << e.what();
    }
}

}  // namespace
}  // namespace keyhole::proxy::test
