#include "proxy/session.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <thread>
#include <zlib.h>

namespace keyhole::proxy {
namespace {

session_ptr make_session(session_info info = {}, std::vector<metering::limit> limits = {})
{
    if (info.id.empty()) info.id = mint_session_id();
    auto budget = std::make_shared<metering::budget>(info.id, std::move(limits));
    return std::make_shared<session>(std::move(info), std::move(budget), std::nullopt);
}

TEST(Token, HasTheFormThatScannersLookFor)
{
    const std::string token = mint_token();
    ASSERT_EQ(token.size(), 52U);
    EXPECT_TRUE(token.starts_with("kh_"));
    EXPECT_TRUE(is_well_formed_token(token));
    auto sum = ::crc32(0, reinterpret_cast<const Bytef*>(token.data()), 46);
    std::string checksum;
    for (int i = 0; i < 6; ++i, sum /= 62) {
        checksum += "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"[sum % 62];
    }
    EXPECT_EQ(token.substr(46), checksum);
}

TEST(Token, NeverComesTwice)
{
    std::set<std::string> seen;
    for (int i = 0; i < 2000; ++i) {
        seen.insert(mint_token());
        seen.insert(mint_session_id());
    }
    EXPECT_EQ(seen.size(), 4000U);
}

TEST(Token, DigestIsSha256AndTheSameWithAndWithoutGhostProxysPrefix)
{
    const token_digest d = digest_of("abc");
    EXPECT_EQ(d[0], 0xba);
    EXPECT_EQ(d[1], 0x78);
    EXPECT_EQ(d[31], 0xad);
    EXPECT_EQ(digest_of("session-abcdefgh"), digest_of("abcdefgh"));
    EXPECT_NE(digest_of("session_abcdefgh"), digest_of("abcdefgh"));
}

TEST(Token, MalformedOnesAreToldApart)
{
    EXPECT_TRUE(is_well_formed_token("12345678"));
    EXPECT_TRUE(is_well_formed_token(std::string(512, 'x')));
    EXPECT_TRUE(is_well_formed_token("session-12345678"));
    const std::string with_nul("1234\0 5678", 10);
    for (const std::string& bad :
         {std::string(), std::string("1234567"), std::string(513, 'x'), std::string("session-abc"),
          std::string("session-"), std::string("12345678 "), std::string("1234\n5678"), with_nul,
          std::string("1234567\xc3\xa4"), std::string("12345678\x7f")})
    {
        EXPECT_FALSE(is_well_formed_token(bad)) << bad;
    }
}

TEST(Session, ModelsAreExactNamesOrPrefixesThatEndInAStar)
{
    session_info info;
    info.models = {"gpt-4o*", "claude-haiku-4-5"};
    const auto s = make_session(info);
    EXPECT_TRUE(s->may_use_model("gpt-4o"));
    EXPECT_TRUE(s->may_use_model("gpt-4o-mini"));
    EXPECT_TRUE(s->may_use_model("claude-haiku-4-5"));
    EXPECT_FALSE(s->may_use_model("gpt-4"));
    EXPECT_FALSE(s->may_use_model("claude-haiku-4-5-20251001"));
    EXPECT_FALSE(s->may_use_model("my-gpt-4o"));
    EXPECT_FALSE(s->may_use_model(""));
    EXPECT_TRUE(make_session()->may_use_model("whatever"));
    EXPECT_TRUE(make_session()->may_use_model(""));
}

TEST(Session, ProvidersAndOperationsAreExact)
{
    session_info info;
    info.providers = {"openai"};
    info.operations = {"chat"};
    const auto s = make_session(info);
    EXPECT_TRUE(s->may_use_provider("openai"));
    EXPECT_FALSE(s->may_use_provider("openai2"));
    EXPECT_FALSE(s->may_use_provider(""));
    EXPECT_TRUE(s->may_use_operation("chat"));
    EXPECT_FALSE(s->may_use_operation("responses"));
    EXPECT_TRUE(make_session()->may_use_provider("any"));
}

TEST(Session, ExpiresAtItsMomentNotAfterIt)
{
    session_info info;
    info.expires_us = 1000;
    const auto s = make_session(info);
    EXPECT_FALSE(s->expired(999));
    EXPECT_TRUE(s->expired(1000));
    EXPECT_FALSE(make_session()->expired(INT64_MAX));
}

TEST(Registry, FindsATokenInBothFormsAndNoOther)
{
    session_registry r;
    const auto s = make_session();
    r.add(digest_of("session-0123456789"), s);
    EXPECT_EQ(r.find_token("session-0123456789"), s);
    EXPECT_EQ(r.find_token("0123456789"), s);
    EXPECT_EQ(r.find_token("0123456788"), nullptr);
    EXPECT_EQ(r.find_token("01234567890"), nullptr);
    EXPECT_EQ(r.find_token(""), nullptr);
    EXPECT_EQ(r.find_token("Session-0123456789"), nullptr);
    EXPECT_EQ(r.find_id(s->info.id), s);
    EXPECT_EQ(r.find_id(""), nullptr);
}

TEST(Registry, ARevokedTokenIsRefusedAtOnceAndItsHolderIsToldWhy)
{
    session_registry r;
    const auto s = make_session();
    r.add(digest_of("session-0123456789"), s);
    EXPECT_EQ(r.revoke_token("0123456789"), s);
    EXPECT_TRUE(s->revoked);
    EXPECT_EQ(r.find_token("session-0123456789"), s);  // revoked, but known
    EXPECT_EQ(r.find_id(s->info.id), nullptr);
    EXPECT_EQ(r.size(), 0U);
    EXPECT_EQ(r.revoke_token("0123456789"), nullptr);
    EXPECT_EQ(r.revoke_id(s->info.id), nullptr);
}

TEST(Registry, RegisteringATokenAgainRevokesTheOlderSession)
{
    session_registry r;
    const auto older = make_session();
    const auto newer = make_session();
    EXPECT_EQ(r.add(digest_of("0123456789"), older), nullptr);
    EXPECT_EQ(r.add(digest_of("session-0123456789"), newer), older);
    EXPECT_TRUE(older->revoked);
    EXPECT_FALSE(newer->revoked);
    EXPECT_EQ(r.find_token("0123456789"), newer);
    EXPECT_EQ(r.find_id(older->info.id), nullptr);
    EXPECT_EQ(r.size(), 1U);
    r.revoke_id(newer->info.id);
    const auto third = make_session();
    EXPECT_EQ(r.add(digest_of("0123456789"), third), nullptr);  // what ended before is not ended again
    EXPECT_EQ(r.find_token("0123456789"), third);
}

TEST(Registry, ASandboxsSessionsEndTogetherAndNoOthers)
{
    session_registry r;
    for (int i = 0; i < 6; ++i) {
        session_info info;
        info.sandbox = i < 3 ? "box" : i < 5 ? "other" : "";
        r.add(digest_of("token-number-" + std::to_string(i)), make_session(info));
    }
    EXPECT_TRUE(r.revoke_sandbox("").empty());
    EXPECT_EQ(r.revoke_sandbox("box").size(), 3U);
    EXPECT_TRUE(r.revoke_sandbox("box").empty());
    EXPECT_EQ(r.size(), 3U);
    EXPECT_TRUE(r.find_token("token-number-2")->revoked);
    EXPECT_FALSE(r.find_token("token-number-3")->revoked);
    EXPECT_FALSE(r.find_token("token-number-5")->revoked);
}

TEST(Registry, ExpiredSessionsLeaveTheListingNotTheTable)
{
    session_registry r;
    session_info info;
    info.expires_us = 100;
    const auto old = make_session(info);
    r.add(digest_of("token-of-the-old"), old);
    r.add(digest_of("token-of-the-new"), make_session());
    EXPECT_TRUE(r.retire_expired(99).empty());
    EXPECT_EQ(r.retire_expired(100).size(), 1U);
    EXPECT_EQ(r.size(), 1U);
    EXPECT_EQ(r.find_token("token-of-the-old"), old);
    EXPECT_FALSE(old->revoked);
}

TEST(Registry, ForgetsEndedTokensInTheEndSoItDoesNotGrowForEver)
{
    session_registry r;
    for (int i = 0; i < 9000; ++i) {
        const auto s = make_session();
        r.add(digest_of("token-number-" + std::to_string(i)), s);
        r.revoke_id(s->info.id);
    }
    EXPECT_EQ(r.find_token("token-number-0"), nullptr);
    ASSERT_NE(r.find_token("token-number-8999"), nullptr);
    EXPECT_TRUE(r.find_token("token-number-8999")->revoked);
}

TEST(Registry, ListsNewestFirst)
{
    session_registry r;
    for (const int at : {2, 3, 1}) {
        session_info info;
        info.created_us = at;
        r.add(digest_of("token-number-" + std::to_string(at)), make_session(info));
    }
    const auto all = r.all();
    ASSERT_EQ(all.size(), 3U);
    EXPECT_EQ(all[0]->info.created_us, 3);
    EXPECT_EQ(all[2]->info.created_us, 1);
}

TEST(Registry, IsReadByWorkersWhileTheControlThreadChangesIt)
{
    session_registry r;
    const auto stays = make_session();
    r.add(digest_of("the-one-that-stays"), stays);
    std::atomic<bool> done{false};
    std::atomic<int> missed{0};
    std::vector<std::thread> readers;
    for (int i = 0; i < 3; ++i) {
        readers.emplace_back([&] {
            while (!done) {
                if (r.find_token("the-one-that-stays") != stays) ++missed;
                if (const auto s = r.find_token("the-one-that-goes")) missed += s->info.id.empty() ? 1 : 0;
                r.all();
            }
        });
    }
    for (int i = 0; i < 500; ++i) {
        const auto s = make_session();
        r.add(digest_of("the-one-that-goes"), s);
        if (i % 2 == 0) r.revoke_id(s->info.id);
    }
    done = true;
    for (auto& t : readers) {
        t.join();
    }
    EXPECT_EQ(missed, 0);
}

}  // namespace
}  // namespace keyhole::proxy
