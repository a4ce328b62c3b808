// What the relay knows of a conversation must not depend on how its bytes are cut, and never be a guess: a
// 503 in the middle of an answer would be read as a part of it.
#include "bridge/conversation.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

namespace keyhole::bridge {
namespace {

using state = conversation::state;

const std::string post = "POST /v1/x HTTP/1.1\r\nHost: x\r\ncontent-length: 5\r\n\r\nhello";
const std::string chunked_post =
    "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nT: x\r\n\r\n";
const std::string get =
    "GET /a-path-longer-than-any-line-that-matters-here/and/further HTTP/1.1\r\nhost: x\r\n\r\n";
const std::string head = "HEAD / HTTP/1.1\r\n\r\n";
const std::string sized =
    "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nx: " + std::string(100, 'y') + "\r\n\r\nabc";
const std::string streamed =
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nA\r\n0123456789\r\n1\r\n\n\r\n0\r\n\r\n";
const std::string empty = "HTTP/1.1 204 No Content\r\n\r\n";
const std::string go_on = "HTTP/1.1 100 Continue\r\n\r\n";

struct step {
    bool by_agent;
    std::string bytes;
    state after;
};

void run(const std::vector<step>& steps, std::size_t piece)
{
    conversation talk;
    for (std::size_t i = 0; i < steps.size(); ++i) {
        const auto& s = steps[i];
        for (std::size_t at = 0; at < s.bytes.size(); at += piece) {
            const auto part = std::string_view(s.bytes).substr(at, piece);
            if (s.by_agent)
                talk.asked(part);
            else
                talk.answered(part);
        }
        EXPECT_EQ(talk.now(), s.after) << "step " << i << " in pieces of " << piece;
    }
}

void run(const std::vector<step>& steps)
{
    for (const std::size_t piece : {std::size_t{1}, std::size_t{2}, std::size_t{3}, std::size_t{7},
                                    std::size_t{45}, std::size_t{46}, std::size_t{47}, std::size_t{4096}})
        run(steps, piece);
}

TEST(Conversation, IsIdleBetweenAnswerAndRequestHoweverBothAreDelimited)
{
    for (const auto& question : {post, chunked_post, get})
        for (const auto& answer : {sized, streamed, empty})
            run({{true, question, state::unanswered},
                 {false, answer, state::idle},
                 {true, question, state::unanswered},
                 {false, answer, state::idle}});
}

TEST(Conversation, IsAnsweringFromTheFirstByteOfAnAnswerToItsLast)
{
    for (const auto& answer : {sized, streamed, empty}) {
        conversation talk;
        talk.asked(post);
        for (std::size_t i = 0; i < answer.size(); ++i) {
            EXPECT_EQ(talk.now(), i == 0 ? state::unanswered : state::answering) << i;
            talk.answered(std::string_view(answer).substr(i, 1));
        }
        EXPECT_EQ(talk.now(), state::idle);
    }
}

TEST(Conversation, APipelinedRequestThatArrivesWithinAnAnswerDoesNotEndThatAnswer)
{
    run({{true, post, state::unanswered},
         {false, sized.substr(0, 30), state::answering},
         {true, post, state::answering},
         {false, sized.substr(30), state::unanswered},
         {false, streamed, state::idle}});
    run({{true, post + get + chunked_post, state::unanswered},
         {false, sized, state::unanswered},
         {false, sized + empty, state::idle}});
}

TEST(Conversation, AHalfSentRequestIsARequest)
{
    run({{true, "P", state::unanswered}});
    run({{true, post.substr(0, post.size() - 1), state::unanswered}, {false, sized, state::ended}});
    run({{true, post, state::unanswered}, {false, sized, state::idle}, {true, "GET", state::unanswered}});
}

TEST(Conversation, AnInterimAnswerIsNotTheAnswer)
{
    run({{true, post.substr(0, post.size() - 5), state::unanswered},
         {false, go_on, state::unanswered},
         {true, "hello", state::unanswered},
         {false, sized, state::idle}});
}

TEST(Conversation, AnAnswerToHeadHasNoBodyWhateverLengthItNames)
{
    const std::string no_body = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n";
    run({{true, head, state::unanswered},
         {false, no_body, state::idle},
         {true, get, state::unanswered},
         {false, sized, state::idle}});
    run({{true, get + head + get, state::unanswered}, {false, sized + no_body + sized, state::idle}});
}

TEST(Conversation, WhatCannotBeFollowedIsUnclearForGood)
{
    for (const std::string answer :
         {"garbage\r\n", "HTTP/2 200\r\n", "HTTP/1.1 2x0 OK\r\n",
          "HTTP/1.1 101 Switching\r\nupgrade: x\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 1x\r\n",
          "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n",
          "HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999999\r\n",
          "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n",
          "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n",
          "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
          "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
          "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nabc\r\n"})
    {
        SCOPED_TRACE(answer);
        run({{true, post, state::unanswered}, {false, answer, state::unclear}, {true, get, state::unclear}});
    }
    // An answer that nobody asked for.
    run({{false, sized, state::unclear}, {true, get, state::unclear}});
}

TEST(Conversation, AnAnswerThatSaysItIsTheLastOneIsTheEnd)
{
    const std::string last = "HTTP/1.1 400 Bad\r\nConnection: close\r\ncontent-length: 1\r\n\r\nx";
    run({{true, post, state::unanswered}, {false, last, state::ended}});
    // A connection on which half a request lies is not at rest, whatever was answered.
    run({{true, post.substr(0, post.size() - 2), state::unanswered}, {false, sized, state::ended}});
}

TEST(Conversation, AnAnswerWithoutALengthEndsWithTheStream)
{
    conversation talk;
    talk.asked(get);
    talk.answered("HTTP/1.0 200 OK\r\n\r\nall of this");
    EXPECT_EQ(talk.now(), state::answering);
    EXPECT_TRUE(talk.ends_with_stream());
}

TEST(Conversation, RandomConversationsInRandomPiecesAreFollowedToTheByte)
{
    std::mt19937 random(4);
    const std::vector<std::string> questions{post, chunked_post, get};
    const std::vector<std::string> answers{sized, streamed, empty, go_on + sized};
    for (int round = 0; round < 3000; ++round) {
        conversation talk;
        std::string up;
        std::string down;
        std::vector<std::size_t> ends{0};
        const auto count = 1 + random() % 8;
        for (unsigned i = 0; i < count; ++i) {
            up += questions[random() % questions.size()];
            down += answers[random() % answers.size()];
            ends.push_back(down.size());
        }
        // All is asked before anything is answered: pipelining to the limit.
        for (std::size_t at = 0; at < up.size();) {
            const std::size_t n = 1 + random() % 60;
            talk.asked(std::string_view(up).substr(at, n));
            at += n;
        }
        for (std::size_t at = 0; at < down.size();) {
            const std::size_t n = std::min<std::size_t>(1 + random() % 60, down.size() - at);
            talk.answered(std::string_view(down).substr(at, n));
            at += n;
            const bool at_an_end = std::find(ends.begin(), ends.end(), at) != ends.end();
            // Between the two messages of an interim and a final answer nothing of the latter has begun.
            const bool after_interim = std::string_view(down).substr(0, at).ends_with(go_on);
            auto expected = state::answering;
            if (at_an_end || after_interim) expected = state::unanswered;
            if (at == down.size()) expected = state::idle;
            ASSERT_EQ(talk.now(), expected) << "after " << at << " bytes";
        }
    }
}

}  // namespace
}  // namespace keyhole::bridge
