#include "sandbox-runtime/provider_keys.hpp"

#include <gtest/gtest.h>

#include <string>

namespace keyhole::runtime {
namespace {

// Put together here, so that no scanner takes this file for a leak.
std::string key(const char* prefix, std::size_t length)
{
    std::string out = prefix;
    for (std::size_t i = 0; i < length; ++i)
        out += "aB3dE5gH7jK9mN1pQ"[i % 17];
    return out;
}

TEST(Tripwire, KEY_STAYS_HOME_FindsWhatLooksLikeAProvidersKey)
{
    for (const std::string& value :
         {key("sk-", 48), key("sk-proj-", 100), key("sk-ant-api03-", 90), key("sk-or-v1-", 64),
          key("AIza", 35), key("gsk_", 52), key("xai-", 80), key("ABSK", 120),
          "x-api-key: " + key("sk-ant-api03-", 90), "Bearer " + key("sk-", 48),
          "{\"key\":\"" + key("AIza", 35) + "\"}", "a=" + key("sk-", 48)})
        EXPECT_TRUE(looks_like_provider_key(value)) << value;
}

TEST(Tripwire, LetsPlaceholdersTokensAndPathsPass)
{
    for (const std::string& value : {std::string(), std::string("keyhole-session"), std::string("sk-test"),
                                     std::string("sk-placeholder"), std::string("sk-") + std::string(48, 'x'),
                                     std::string("sk-this-is-not-a-real-key-at-all"), key("kh_", 49),
                                     key("session-", 32), std::string("task-1234567890abcdefghijKLMN"),
                                     std::string("/opt/risk-assessment-2024-report-final-Version"),
                                     std::string("AIzaShort1"), std::string("http://127.0.0.1:8080/v1")})
        EXPECT_FALSE(looks_like_provider_key(value)) << value;
}

TEST(SessionTokens, AreFoundWhereverTheyStand)
{
    const std::string token = "kh_" + std::string(43, 'a') + "c0ffee";
    for (const std::string& text : {token, "Bearer " + token, "KEY=" + token, "x, " + token + "\n"})
        EXPECT_TRUE(holds_session_token(text)) << text;
    for (const std::string& text : {std::string(), std::string("kh_"), std::string("kh_short"), "ab" + token,
                                    std::string("keyhole-session"), "kh_" + std::string(31, 'a')})
        EXPECT_FALSE(holds_session_token(text)) << text;
}

TEST(SecretArguments, AreNamedByTheirPlaceAndNeverShown)
{
    const std::string key = "sk-proj-0123456789abcdefghijABCDEFGHIJ";
    const std::string token = "custom-token-1234";
    EXPECT_EQ(find_secret_argument({"agent", "--model", "sk-test", "kh_short"}, {}, token), "");
    EXPECT_EQ(find_secret_argument({}, {}, {}), "");
    for (const std::string& secret : {key, token, "kh_" + std::string(40, 'a')}) {
        const std::string said =
            find_secret_argument({"agent", "-k", "--header=Bearer " + secret}, {}, token);
        EXPECT_TRUE(said.starts_with("argument 2 of the command holds ")) << said;
        EXPECT_EQ(said.find(secret), std::string::npos);
        EXPECT_TRUE(find_secret_argument({secret}, {}, token).starts_with("the command's name "));
    }
    EXPECT_EQ(find_secret_argument({"agent", key}, {"arguments"}, token), "");
    EXPECT_EQ(find_secret_argument({"agent", token}, {"session_token"}, token), "");
    EXPECT_NE(find_secret_argument({"agent", token}, {"arguments"}, token), "");
    EXPECT_NE(find_secret_argument({"agent", token, key}, {"session_token"}, token), "");
}

}  // namespace
}  // namespace keyhole::runtime
