#include "proxy/brief_memory.hpp"

#include <gtest/gtest.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <random>
#include <sys/mman.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace keyhole::proxy {
namespace {

bool is_mapped(char* at)
{
    const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
    unsigned char there = 0;
    return ::mincore(at - reinterpret_cast<std::uintptr_t>(at) % page, page, &there) == 0 || errno != ENOMEM;
}

TEST(BriefMemory, WhatIsTakenKeepsItsBytesWhateverElseComesAndGoes)
{
    std::mt19937 random(7);
    brief_memory memory;
    struct piece {
        char* at;
        std::size_t size;
        char filled_with;
    };
    std::vector<piece> alive;
    const auto give_back = [&](std::size_t i) {
        const piece p = alive[i];
        for (std::size_t k = 0; k < p.size; ++k)
            ASSERT_EQ(p.at[k], p.filled_with);
        memory.give_back(p.at);
        alive[i] = alive.back();
        alive.pop_back();
    };
    for (int turn = 0; turn < 20'000; ++turn) {
        if (alive.size() > 200 || (!alive.empty() && random() % 2 == 0)) {
            give_back(random() % alive.size());
            continue;
        }
        const std::size_t size = 1 + random() % brief_memory::largest;
        const piece p{memory.take(size), size, static_cast<char>(random() % 256)};
        ASSERT_EQ(reinterpret_cast<std::uintptr_t>(p.at) % alignof(std::max_align_t), 0U);
        std::memset(p.at, p.filled_with, p.size);
        alive.push_back(p);
        if (turn % 500 == 0) memory.sweep();
    }
    while (!alive.empty())
        give_back(alive.size() - 1);
}

TEST(BriefMemory, ABurstLeavesNothingBehind)
{
    brief_memory memory;
    std::vector<char*> taken;
    for (int i = 0; i < 1000; ++i)
        taken.push_back(memory.take(2048));
    for (char* at : taken)
        memory.give_back(at);
    memory.sweep();
    memory.sweep();  // what was not used between the two is gone
    std::size_t still_there = 0;
    for (char* at : taken)
        if (is_mapped(at)) ++still_there;
    EXPECT_LE(still_there, 16U) << "only the slab that is taken from next may stay";
}

}  // namespace
}  // namespace keyhole::proxy
