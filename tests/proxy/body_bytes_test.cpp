#include "proxy/body_bytes.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>

namespace keyhole::proxy {
namespace {

void arrive(body_bytes& body, std::string_view bytes, std::size_t announced)
{
    while (!bytes.empty()) {
        const auto room = body.room(announced);
        ASSERT_FALSE(room.empty());
        ASSERT_LE(body.size() + room.size(), announced);
        const auto n = bytes.copy(room.data(), std::min(bytes.size(), room.size()));
        body.grew(n);
        bytes.remove_prefix(n);
    }
}

TEST(BodyBytes, HoldsWhatArrivesHoweverItIsCut)
{
    large_buffers worker;
    std::string sent(3 * 1024 * 1024 + 17, 'x');
    for (std::size_t i = 0; i < sent.size(); ++i)
        sent[i] = static_cast<char>('a' + i % 23);
    for (const std::size_t cut : {std::size_t{1000}, std::size_t{65536}, sent.size()}) {
        body_bytes body(worker);
        for (std::size_t at = 0; at < sent.size(); at += cut)
            arrive(body, std::string_view(sent).substr(at, cut), sent.size());
        EXPECT_EQ(body.view(), sent);
    }
}

TEST(BodyBytes, NeverOffersRoomBeyondWhatIsAnnounced)
{
    large_buffers worker;
    {
        body_bytes larger(worker);
        arrive(larger, std::string(500'000, 'l'), 500'000);
    }
    body_bytes body(worker);  // in the larger one's buffer
    arrive(body, std::string(99'000, 'b'), 100'000);
    EXPECT_EQ(body.room(100'000).size(), 1000U);
}

TEST(BodyBytes, AnAnnouncementAloneTakesABoundedBuffer)
{
    large_buffers worker;
    body_bytes body(worker);
    EXPECT_LE(body.room(std::size_t{1} << 40U).size(), std::size_t{1024} * 1024);
}

TEST(BodyBytes, AppendsPieces)
{
    large_buffers worker;
    body_bytes body(worker);
    std::string all;
    for (int i = 0; i < 5000; ++i) {
        const auto piece = std::to_string(i) + ',';
        body.append(piece);
        all += piece;
    }
    body.append({});
    EXPECT_EQ(body.view(), all);
}

TEST(LargeBuffers, LendWhatWasGivenBack_AndForgetWhatNobodyUses)
{
    large_buffers worker;
    auto first = worker.lend(200'000);
    const auto* at = first.bytes.get();
    worker.give_back(std::move(first));
    auto again = worker.lend(150'000);
    EXPECT_EQ(again.bytes.get(), at);
    EXPECT_GE(again.capacity, 150'000U);
    worker.give_back(std::move(again));
    worker.sweep();  // it was used since the last one
    auto kept = worker.lend(100'000);
    EXPECT_EQ(kept.capacity, 200'000U);
    worker.give_back(std::move(kept));
    worker.sweep();
    worker.sweep();  // it was not
    EXPECT_EQ(worker.lend(100'000).capacity, 100'000U);
}

}  // namespace
}  // namespace keyhole::proxy
