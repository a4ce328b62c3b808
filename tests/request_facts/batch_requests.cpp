#include "metering/batch_requests.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace keyhole::metering {
namespace {

struct found {
    std::vector<std::string> params;
    bool whole = false;
};

found requests_of(std::string_view body, std::size_t stop_after = 1000)
{
    found f;
    f.whole = each_batch_request(body, [&](std::string_view params) {
        f.params.emplace_back(params);
        return f.params.size() < stop_after;
    });
    return f;
}

TEST(BatchRequests, EveryRequestsParamsAreFoundInOrderAsTheyStand)
{
    const found f = requests_of(R"( {"other":[{"params":{"no":1}}],"requests":[
        {"custom_id":"a","params":{"model":"m", "max_tokens":1}},
        {"params" : {"nested":{"params":{"no":2}}},"custom_id":"b"} , {"custom_id":"none"}]} )");
    EXPECT_TRUE(f.whole);
    EXPECT_EQ(f.params, (std::vector<std::string>{R"({"model":"m", "max_tokens":1})",
                                                  R"({"nested":{"params":{"no":2}}})"}));
    EXPECT_TRUE(requests_of(R"({"requests":[]})").whole);
    EXPECT_TRUE(requests_of(R"({"requests":[ ]})").whole);
}

TEST(BatchRequests, ANameThatIsEscapedOrStandsTwiceHidesNothing)
{
    const found f = requests_of(
        R"({"reque\u0073ts":[{"par\u0061ms":{"a":1},"params":{"b":2}}],"requests":[{"params":{"c":3}}]})");
    EXPECT_TRUE(f.whole);
    EXPECT_EQ(f.params, (std::vector<std::string>{R"({"a":1})", R"({"b":2})", R"({"c":3})"}));
}

TEST(BatchRequests, WhoeverHasSeenEnoughStopsTheReading)
{
    const found f = requests_of(R"({"requests":[{"params":{"a":1}},{"params":{"b":2}}]})", 1);
    EXPECT_FALSE(f.whole);
    EXPECT_EQ(f.params.size(), 1U);
}

TEST(BatchRequests, WhatCannotBeReadToItsEndIsNeverCalledWhole)
{
    const std::string whole = R"({"requests":[{"custom_id":"a","params":{"model":"m"}},{"params":{}}]})";
    ASSERT_TRUE(requests_of(whole).whole);
    for (std::size_t n = 0; n < whole.size(); ++n) {
        EXPECT_FALSE(requests_of(std::string_view{whole}.substr(0, n)).whole) << n;
    }
    for (const char* odd :
         {R"([])", R"({"requests":{}})", R"({"requests":[1]})", R"({"requests":[{"params":{}} {}]})",
          R"({"requests":null})", R"({"requests":["params"]})"})
    {
        EXPECT_FALSE(requests_of(odd).whole) << odd;
    }
}

}  // namespace
}  // namespace keyhole::metering
