#include "proxy/body_bytes.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

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
        body.append(piece, 100'000);
        all += piece;
    }
    body.append({}, 100'000);
    EXPECT_EQ(body.view(), all);
}

TEST(BodyBytes, ALargeBodyStaysWhereItLies)
{
    large_buffers worker;
    body_bytes body(worker);
    const std::size_t whole = 40 * 1024 * 1024;
    const std::string piece(1024 * 1024, 'p');
    arrive(body, std::string_view(piece).substr(0, 1000), whole);
    const auto* at = body.view().data();
    for (int i = 0; i < 39; ++i)
        arrive(body, piece, whole);
    EXPECT_EQ(body.view().data(), at);  // nothing was copied to make room
    EXPECT_EQ(body.size(), 1000 + 39 * piece.size());
    EXPECT_EQ(body.view().substr(body.size() - 3), "ppp");
}

TEST(BodyBytes, AChunkedBodyMovesOnce)
{
    large_buffers worker;
    body_bytes body(worker);
    const std::string piece(100'000, 'c');
    std::vector<const char*> places;
    for (int i = 0; i < 200; ++i) {
        body.append(piece, 64 * 1024 * 1024);
        if (body.size() > large_buffers::largest_on_heap) places.push_back(body.view().data());
    }
    EXPECT_EQ(body.size(), 200 * piece.size());
    EXPECT_TRUE(std::all_of(places.begin(), places.end(), [&](const char* p) { return p == places[0]; }));
    EXPECT_EQ(body.view().find_first_not_of('c'), std::string_view::npos);
}

TEST(LargeBuffers, WhatIsTooLargeToBeKeptIsTakenApartPieceByPiece)
{
    large_buffers worker;
    std::vector<large_buffer> left;
    worker.set_dismantle([&](large_buffer used) { left.push_back(std::move(used)); });
    {
        body_bytes body(worker);
        arrive(body, std::string(20 * 1024 * 1024, 'x'), 20 * 1024 * 1024);
    }
    ASSERT_EQ(left.size(), 1U);
    int turns = 1;
    while (left[0].shrink(1024 * 1024))
        ++turns;
    EXPECT_EQ(turns, 20);
    EXPECT_FALSE(left[0].shrink(1024 * 1024));
}

TEST(LargeBuffers, LendWhatWasGivenBack_AndForgetWhatNobodyUses)
{
    large_buffers worker;
    auto first = worker.lend(200'000);
    const auto* at = first.data();
    worker.give_back(std::move(first));
    auto again = worker.lend(150'000);
    EXPECT_EQ(again.data(), at);
    EXPECT_GE(again.capacity(), 150'000U);
    worker.give_back(std::move(again));
    worker.sweep();  // it was used since the last one
    auto kept = worker.lend(100'000);
    EXPECT_EQ(kept.capacity(), 200'000U);
    worker.give_back(std::move(kept));
    worker.sweep();
    worker.sweep();  // it was not
    EXPECT_EQ(worker.lend(100'000).capacity(), 100'000U);
}

}  // namespace
}  // namespace keyhole::proxy
